// npm's own socket.io-client, driven by a test: a line of JSON on stdin is a step, one on stdout is what happened.
//   {"c": "a", "connect": {options}}   {"c": "a", "emit": ["move", {}], "n": 1}   {"c": "a", "disconnect": true}
// Binary is {"$": "base64"}, either way.
const { io } = require("socket.io-client");
const url = process.argv[2];
const clients = {};

const say = (what) => process.stdout.write(JSON.stringify(what, shown) + "\n");
const shown = (_, value) => (value && value.type === "Buffer" ? { $: Buffer.from(value.data).toString("base64") } : value);
const meant = (_, value) => (value && typeof value.$ === "string" ? Buffer.from(value.$, "base64") : value);

function step({ c, connect, emit, n, disconnect, raw }) {
  if (connect) {
    const client = (clients[c] = io(url, { reconnectionDelay: 50, reconnectionDelayMax: 200, ...connect }));
    client.on("connect", () => say({ c, event: "connect", recovered: client.recovered }));
    client.on("disconnect", (reason) => say({ c, event: "disconnect", reason }));
    client.on("connect_error", (error) => say({ c, event: "connect_error", text: error.message }));
    client.onAny((event, ...args) => say({ c, event, args }));
  } else if (emit && n !== undefined) {
    clients[c].timeout(20000).emit(...emit, (error, ...args) => say({ c, n, error: error && error.message, args }));
  } else if (emit) {
    clients[c].emit(...emit);
  } else if (raw) {
    clients[c].io.engine.write(raw); // past what the client itself refuses
  } else if (disconnect) {
    clients[c].disconnect();
  }
}

require("readline").createInterface({ input: process.stdin }).on("line", (line) => step(JSON.parse(line, meant)));
process.stdin.on("end", () => process.exit(0));
say({ event: "ready" });
