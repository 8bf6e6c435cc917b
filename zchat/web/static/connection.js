// The gateway by JSON lines: requests with answers, what comes by itself, and coming back after a break.
//
// Rules of this file: it knows no page. What is asked while the connection is away is asked again when it is back, unless
// its asker says otherwise; what must be known once is under an id.

const PAUSE = 500; // milliseconds, doubled up to
const PAUSE_MAX = 10000;
const SILENCE = 45000; // the gateway says something every 20 s

export class Connection {
  // hears(line): what comes by itself. changes(isThere): it has gone, or is back and may be asked.
  constructor(url, hears, changes) {
    this.url = url;
    this.hears = hears;
    this.changes = changes;
    this.number = 0;
    this.waiting = new Map(); // number -> {resolve, reject}
    this.pause = PAUSE;
    this.isThere = false;
    this.open();
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  open() {
    clearTimeout(this.timer);
    const socket = (this.socket = new WebSocket(this.url));
    socket.onopen = () => {
      this.pause = PAUSE;
      this.isThere = true;
      this.listen();
      this.changes(true);
    };
    socket.onmessage = ({ data }) => {
      this.listen();
      for (const line of data.split("\n")) if (line) this.take(JSON.parse(line));
    };
    socket.onclose = () => socket === this.socket && this.lost();
  }

  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.socket.close(), SILENCE);
  }

  lost() {
    clearTimeout(this.silence);
    const wasThere = this.isThere;
    this.isThere = false;
    for (const { reject } of this.waiting.values()) reject(new Away());
    this.waiting.clear();
    this.timer = setTimeout(() => this.open(), this.pause * (0.7 + 0.6 * Math.random()));
    this.pause = Math.min(PAUSE_MAX, this.pause * 2);
    if (wasThere) this.changes(false);
  }

  hurry() {
    if (!this.isThere && this.socket.readyState === WebSocket.CLOSED) this.open();
  }

  take(line) {
    if (line.re === undefined) return this.hears(line);
    const asked = this.waiting.get(line.re);
    this.waiting.delete(line.re);
    if (!asked) return;
    if (line.error) asked.reject(new Refused(line));
    else asked.resolve(line);
  }

  ask(what) {
    if (!this.isThere) return Promise.reject(new Away());
    const n = ++this.number;
    this.socket.send(JSON.stringify({ ...what, n }));
    return new Promise((resolve, reject) => this.waiting.set(n, { resolve, reject }));
  }
}

export class Away extends Error {}

export class Refused extends Error {
  constructor({ error, text }) {
    super(text);
    this.code = error;
  }
}
