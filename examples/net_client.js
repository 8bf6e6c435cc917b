// A chat client for `zchat tcp --raw`, with nothing but Node's net. Each line that is typed is written as it is.
//
// node examples/net_client.js 8000 127.0.0.1

const net = require('net')
const readline = require('readline')

const client = new net.Socket()
client.setEncoding('utf8')

client.connect(Number(process.argv[2] ?? 8000), process.argv[3] ?? '127.0.0.1', () => {
  const typed = readline.createInterface({ input: process.stdin })
  typed.on('line', (line) => client.write(line)) // without a newline: a short silence ends it
  typed.on('close', () => client.end())
})

client.on('data', (data) => console.log(data))
client.on('error', (error) => console.error(error.message))
