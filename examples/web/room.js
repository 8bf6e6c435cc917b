// A room, for a terminal with Node: npm install socket.io-client, start `zchat web`, then
//
// node examples/web/room.js general anna
const { io } = require("socket.io-client");
const [room, user, url = "http://127.0.0.1:8080"] = process.argv.slice(2);

const socket = io(url, { auth: { user, room } });
socket.on("joined", ({ recovered }) => console.log(recovered ? "* back" : `* you are in ${room}`));
socket.on("join", ({ user }) => console.log(`* ${user} is here`));
socket.on("leave", ({ user }) => console.log(`* ${user} has left`));
socket.on("message", ({ user, text }) => console.log(`${user}: ${text}`));
socket.on("disconnect", () => console.log("* away"));

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => socket.emit("message", line))
  .on("close", () => socket.disconnect());
