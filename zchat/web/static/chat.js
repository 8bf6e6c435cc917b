// The page: rooms, who is in them, what was said, and what is being written.
//
// Rules of this file: what others wrote goes to view.js as data. What is known of rooms is kept by name in Maps, never as
// properties of objects. What was typed is kept until it is stored, over breaks and reloads.
import { Away, Connection } from "./connection.js";
import { at, body, day, face, made, message, note, separator } from "./view.js";

const root = document.querySelector("meta[name=zchat-root]").content;
const firstRoom = document.querySelector("meta[name=zchat-room]").content;
const needsLogin = Boolean(document.querySelector("meta[name=zchat-login]").content);
const PAGE = 50; // messages that are fetched at once
const FILE_BYTES_MAX = 1000000;
const NEAR_END = 80; // pixels: who is as near follows what comes

const remembered = (name, otherwise) => {
  try {
    return JSON.parse(localStorage.getItem(`zchat.${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
};
const remember = (name, value) => localStorage.setItem(`zchat.${name}`, JSON.stringify(value));

const me = { name: remembered("name", ""), inbox: "", isHere: false };
const rooms = new Map(); // name -> Room: rooms, and direct messages as @name
const read = new Map(remembered("read", [])); // name -> the last offset that was seen
const drafts = new Map(remembered("drafts", []));
let outbox = remembered("outbox", []); // {id, room, text} that are not stored yet
let current = null;

class Room {
  constructor(name) {
    this.name = name;
    this.lines = []; // messages, the oldest first
    this.members = new Set();
    this.unread = 0;
    this.last = null; // the offset that came last
    this.isLoaded = false; // its newest messages are here
    this.isAll = false; // there is nothing before the first
    this.isFetching = false;
  }

  get isDirect() {
    return this.name.startsWith("@");
  }

  get title() {
    return this.isDirect ? this.name.slice(1) : this.name;
  }
}

const fold = (name) => name.toLowerCase();
const placeOf = (line) =>
  `${root}/${encodeURIComponent(line.room)}/${line.offset}` +
  (line.room.startsWith("@") ? `?user=${encodeURIComponent(me.name)}` : "");

// --- the connection ------------------------------------------------------------------------------

let connection = null;

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  connection = new Connection(`${scheme}://${location.host}${root}/ws`, hears, (isThere) => (isThere ? comeIn() : away()));
}

function away() {
  me.isHere = false;
  if (needsLogin) whoAmI(); // its log-in may be over
  at("state").className = "state";
  at("state").textContent = "reconnecting…";
  at("away").textContent = "The connection is away. What you write is kept, and sent when it is back.";
  at("away").hidden = false;
}

// Where there are tokens, the gateway knows who it is; who is not known logs in.
async function whoAmI() {
  let answer;
  try {
    answer = await fetch(`${root}/me`);
  } catch {
    return; // it is away, and asked again
  }
  if (answer.status === 401) location.replace(`${root}/login`);
  else if (answer.ok) me.name = (await answer.json()).user;
}

async function comeIn() {
  let hello;
  try {
    hello = await connection.ask({ do: "hello", user: me.name });
  } catch (error) {
    if (!(error instanceof Away)) askName(error.message);
    return;
  }
  try {
    me.name = hello.user;
    me.inbox = hello.inbox;
    remember("name", me.name);
    showMe();
    await connection.ask({ do: "join", room: me.inbox, after: inboxLast() });
    for (const room of [...rooms.values()]) if (!room.isDirect) await join(room);
    me.isHere = true;
    at("state").className = "state is-there";
    at("state").textContent = "connected";
    at("away").hidden = true;
    await sendWaiting();
    refreshKnown();
  } catch (error) {
    if (!(error instanceof Away)) say(error.message);
  }
}

const inboxLast = () => (inboxOffset === null ? undefined : inboxOffset);
let inboxOffset = null;

async function join(room) {
  const joined = await connection.ask({ do: "join", room: room.name, after: room.last ?? undefined });
  room.members = new Set(joined.members);
  room.last = Math.max(room.last ?? 0, joined.offset);
  if (!room.isLoaded) {
    await fetchBefore(room);
    const seen = read.get(room.name);
    if (seen !== undefined && room !== current)
      room.unread = room.lines.filter((line) => line.offset > seen && line.user !== me.name).length;
  }
  if (room === current) showMembers();
  showRooms();
}

async function fetchBefore(room) {
  if (room.isAll || room.isFetching || !connection.isThere) return;
  room.isFetching = true;
  try {
    const stored = room.lines.filter((line) => line.offset && !isNote(line));
    const before = stored.length ? stored[0].offset : undefined;
    const asked = room.isDirect ? me.inbox : room.name;
    const page = await connection.ask({ do: "history", room: asked, have: stored.length, before, limit: PAGE });
    const known = new Set(stored.map((line) => line.offset));
    const fresh = page.messages.filter((line) => !known.has(line.offset) && !(line.id && settle(room, line)));
    room.isAll = page.is_all;
    room.isLoaded = true;
    room.lines.unshift(...fresh.filter((line) => !room.isDirect || fold(line.user) === fold(room.title)));
    if (!room.isDirect) room.last = Math.max(room.last ?? 0, ...fresh.map((line) => line.offset));
    if (room === current) show({ keepsPlace: true });
  } catch (error) {
    if (!(error instanceof Away)) throw error;
  } finally {
    room.isFetching = false;
  }
}

// --- what comes ----------------------------------------------------------------------------------

const isNote = (line) => line.event === "join" || line.event === "leave" || line.event === "gap";

function hears(line) {
  if (line.room === undefined) return;
  const isInbox = line.room === me.inbox;
  if (isInbox && line.offset) inboxOffset = Math.max(inboxOffset ?? 0, line.offset);
  if (isInbox && (isNote(line) || !line.user)) return;
  const room = isInbox ? opened(`@${fold(line.user)}`) : rooms.get(line.room);
  if (!room || (line.offset && room.last !== null && !isInbox && line.offset <= room.last)) return;
  if (line.offset && !isInbox) room.last = line.offset;
  if (line.event === "join") room.members.add(line.user);
  if (line.event === "leave") room.members.delete(line.user);
  if (line.id && settle(room, line)) return;
  if (isNote(line) && line.user === me.name) return;
  append(room, line);
  if (!isNote(line) && line.user !== me.name) notify(room, line, isInbox);
  if (isNote(line) && room === current) showMembers();
}

function append(room, line) {
  room.lines.push(line);
  const isSeen = room === current && !document.hidden && isAtEnd();
  if (isSeen || isNote(line) || line.user === me.name) {
    if (isSeen && line.offset) markRead(room);
  } else {
    room.unread += 1;
  }
  if (room === current) {
    const follows = isAtEnd() || line.user === me.name;
    showLine(room, room.lines.length - 1);
    if (follows) toEnd();
    else at("newest").hidden = isNote(line) && at("newest").hidden;
  }
  showRooms();
}

function markRead(room) {
  room.unread = 0;
  if (room.last !== null) read.set(room.name, room.last);
  remember("read", [...read]);
}

// --- writing -------------------------------------------------------------------------------------

// What this page wrote is stored: it stands there already.
function settle(room, { id, offset }) {
  const line = room.lines.find((each) => each.waiting && each.waiting.id === id) || room.lines.find((each) => each.id === id);
  if (!line) return false;
  line.offset = offset;
  line.id = id;
  delete line.waiting;
  outbox = outbox.filter((each) => each.id !== id);
  remember("outbox", outbox);
  if (room === current) show({ keepsPlace: true });
  return true;
}

function write(text) {
  const waiting = { id: crypto.randomUUID ? crypto.randomUUID() : `${Date.now()}-${Math.random()}`, room: current.name, text };
  outbox.push(waiting);
  remember("outbox", outbox);
  append(current, { event: "message", room: current.name, user: me.name, time: Date.now() / 1000, text, waiting });
  send(waiting);
}

async function sendWaiting() {
  for (const waiting of [...outbox]) await send(waiting);
}

async function send(waiting) {
  try {
    const { offset } = await connection.ask({ do: "send", room: waiting.room, text: waiting.text, id: waiting.id });
    settle(opened(waiting.room), { id: waiting.id, offset });
  } catch (error) {
    if (error instanceof Away) return;
    const room = opened(waiting.room);
    const line = room.lines.find((each) => each.waiting && each.waiting.id === waiting.id);
    if (line) {
      line.fails = error.message;
      delete line.waiting;
    }
    outbox = outbox.filter((each) => each.id !== waiting.id);
    remember("outbox", outbox);
    if (room === current) show({ keepsPlace: true });
  }
}

async function sendFile(chosen) {
  if (!chosen || !current) return;
  if (chosen.size > FILE_BYTES_MAX) return say(`${chosen.name} is larger than 1 MB.`);
  const headers = { "X-User": me.name, "X-Filename": encodeURIComponent(chosen.name).slice(0, 256), "Content-Type": chosen.type || "application/octet-stream" };
  const place = `${root}/${encodeURIComponent(current.name)}?user=${encodeURIComponent(me.name)}`;
  try {
    const answer = await fetch(place, { method: "POST", body: chosen, headers });
    if (!answer.ok) say((await answer.json()).text);
    else if (current.isDirect) {
      const { offset, room } = await answer.json();
      append(current, { event: "message", room, offset, user: me.name, time: Date.now() / 1000, text: `sent ${chosen.name}` });
    }
  } catch {
    say("The file was not sent: the connection is away.");
  }
}

function say(text) {
  at("away").textContent = text;
  at("away").hidden = false;
  setTimeout(() => (at("away").hidden = me.isHere), 5000);
}

// --- showing -------------------------------------------------------------------------------------

const list = at("messages");
const isAtEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END;

function toEnd() {
  list.scrollTop = list.scrollHeight;
  at("newest").hidden = true;
}

function show({ keepsPlace = false } = {}) {
  const room = current;
  const below = list.scrollHeight - list.scrollTop;
  const wasAtEnd = isAtEnd();
  list.replaceChildren();
  if (room.isAll && room.lines.length) list.append(made("p", "beginning", `This is the beginning of ${room.isDirect ? "what you wrote to each other" : `#${room.name}`}.`));
  if (!room.lines.some((line) => !isNote(line)))
    list.append(made("div", "empty", made("strong", "", room.isDirect ? `You and ${room.title}` : `#${room.name} is quiet`), "Say something."));
  room.lines.forEach((_, number) => showLine(room, number));
  if (keepsPlace && !wasAtEnd) list.scrollTop = list.scrollHeight - below;
  else toEnd();
}

function showLine(room, number) {
  const line = room.lines[number];
  let before = room.lines[number - 1];
  const isNewDay = !before || day(before.time ?? 0) !== day(line.time ?? 0);
  if (isNewDay && line.time) list.append(separator(day(line.time)));
  const seen = room.unreadFrom;
  if (seen && line.offset > seen && (!before || before.offset <= seen)) list.append(separator("New", true));
  if (isNote(line)) return list.append(note(line));
  if (before && isNote(before)) before = null;
  const shown = message(line, before, placeOf, (user) => open(`@${fold(user)}`));
  if (line.waiting) {
    shown.classList.add("waits");
    shown.append(made("span", "hidden", "not sent yet"));
  }
  if (line.fails) shown.lastChild.append(made("div", "fails", `Not sent: ${line.fails}`));
  list.append(shown);
}

function showRooms() {
  const shown = { rooms: [], people: [] };
  for (const room of rooms.values()) {
    const name = made("span", "name", room.title);
    const sign = room.isDirect ? face(room.title, true) : made("span", "sign", "#");
    sign.setAttribute("aria-hidden", "true");
    const button = made("button", "", sign, name);
    button.type = "button";
    button.dataset.room = room.name;
    if (room === current) button.setAttribute("aria-current", "true");
    if (room.unread) {
      button.classList.add("has-new");
      const badge = made("span", "badge", room.unread > 99 ? "99+" : String(room.unread));
      badge.setAttribute("aria-label", `${room.unread} unread`);
      button.append(badge);
    }
    button.addEventListener("click", () => open(room.name));
    shown[room.isDirect ? "people" : "rooms"].push(made("li", "", button));
  }
  at("rooms").replaceChildren(...shown.rooms);
  at("people").replaceChildren(...shown.people);
  at("nobody").hidden = shown.people.length > 0;
  const others = [...rooms.values()].reduce((sum, room) => sum + (room === current ? 0 : room.unread), 0);
  const all = others + (current ? current.unread : 0);
  at("other-unread").hidden = !others;
  document.title = `${all ? `(${all}) ` : ""}${current ? current.title : "zchat"}`;
}

function showMembers() {
  const room = current;
  const members = room.isDirect ? [room.title, me.name] : [...room.members].sort((a, b) => a.localeCompare(b));
  at("members").replaceChildren(
    ...members.map((user) => {
      const button = made("button", "", face(user, true), user === me.name ? `${user} (you)` : user);
      button.type = "button";
      button.disabled = user === me.name;
      button.addEventListener("click", () => open(`@${fold(user)}`));
      return made("li", "", button);
    }),
  );
  at("members-count").textContent = `· ${members.length}`;
  at("room-about").textContent = room.isDirect ? "Only the two of you see this." : `${members.length} ${members.length === 1 ? "member" : "members"}`;
}

function showMe() {
  at("my-name").textContent = me.name;
  at("my-face").replaceWith(Object.assign(face(me.name), { id: "my-face" }));
}

// --- rooms ---------------------------------------------------------------------------------------

function opened(name) {
  if (!rooms.has(name)) {
    rooms.set(name, new Room(name));
    rememberRooms();
  }
  return rooms.get(name);
}

const rememberRooms = () => remember("rooms", [...rooms.keys()]);

async function open(name) {
  if (name === me.inbox) return;
  const isNew = !rooms.has(name);
  const room = opened(name);
  if (current) keepDraft();
  current = room;
  room.unreadFrom = room.unread ? read.get(name) : 0;
  closeDrawers();
  closeSearch();
  at("room-name").textContent = room.isDirect ? room.title : `#${room.name}`;
  at("leave").setAttribute("aria-label", room.isDirect ? "Close this conversation" : "Leave this room");
  at("text").value = drafts.get(name) || "";
  at("text").placeholder = room.isDirect ? `Message ${room.title}` : `Message #${room.name}`;
  grow();
  show();
  markRead(room);
  showRooms();
  showMembers();
  history.replaceState(null, "", room.isDirect ? `${root}/` : `${root}/${encodeURIComponent(name)}`);
  if (matchMedia("(min-width: 721px)").matches) at("text").focus();
  if (room.isDirect) return fetchBefore(room);
  if (!isNew || !connection || !connection.isThere) return;
  try {
    await join(room);
  } catch (error) {
    if (error instanceof Away) return;
    rooms.delete(name);
    rememberRooms();
    say(error.message);
    open(firstOther());
  }
}

const firstOther = () => [...rooms.keys()].find((name) => !name.startsWith("@")) || firstRoom;

async function leave() {
  const room = current;
  if (!room.isDirect && [...rooms.values()].filter((each) => !each.isDirect).length < 2) return say("This is your only room.");
  rooms.delete(room.name);
  rememberRooms();
  current = null;
  open(firstOther());
  if (!room.isDirect) await connection.ask({ do: "leave", room: room.name }).catch(() => {});
}

async function refreshKnown() {
  const known = await connection.ask({ do: "rooms" }).catch(() => ({ rooms: [] }));
  at("known-rooms").replaceChildren(
    ...known.rooms.map(({ room, members }) => Object.assign(made("option", ""), { value: room, label: `${members} here` })),
  );
}

// --- notifications -------------------------------------------------------------------------------

let rings = remembered("rings", false) && window.Notification && Notification.permission === "granted";

function notify(room, line, isDirect) {
  const names = (line.text || "").toLowerCase().includes(me.name.toLowerCase());
  if (!rings || !(document.hidden || room !== current) || !(isDirect || names)) return;
  const shown = new Notification(isDirect ? line.user : `${line.user} in #${room.name}`, { body: line.text || "sent a file", tag: room.name, icon: `${root}/static/icon.svg` });
  shown.onclick = () => {
    window.focus();
    open(room.name);
  };
}

async function toggleBell() {
  if (!window.Notification) return say("This browser shows no notifications.");
  rings = !rings && (Notification.permission === "granted" || (await Notification.requestPermission()) === "granted");
  remember("rings", rings);
  at("bell").setAttribute("aria-pressed", String(rings));
}

// --- search --------------------------------------------------------------------------------------

async function search(text) {
  const room = current;
  if (!text.trim()) return closeSearch();
  try {
    const found = await connection.ask({ do: "search", room: room.isDirect ? me.inbox : room.name, text });
    const close = made("button", "icon", "✕");
    close.type = "button";
    close.setAttribute("aria-label", "Close the results");
    close.addEventListener("click", closeSearch);
    const count = found.messages.length;
    const head = made("header", "", made("span", "", count ? `${count === 50 ? "The newest 50" : count} with “${text}”` : `Nothing with “${text}”`), close);
    const shown = found.messages.reverse().map((line) => message(line, null, placeOf, (user) => open(`@${fold(user)}`)));
    at("found").replaceChildren(head, ...shown);
    at("found").hidden = false;
  } catch (error) {
    say(error instanceof Away ? "The connection is away." : error.message);
  }
}

function closeSearch() {
  at("found").hidden = true;
  at("found").replaceChildren();
  at("search").value = "";
}

// --- hands ---------------------------------------------------------------------------------------

function keepDraft() {
  const text = at("text").value;
  if (text) drafts.set(current.name, text);
  else drafts.delete(current.name);
  remember("drafts", [...drafts]);
}

function grow() {
  const text = at("text");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

function drawer(name, button, isOpen) {
  at("app").classList.toggle(name, isOpen);
  at(button).setAttribute("aria-expanded", String(isOpen));
  at("shade").hidden = !at("app").matches(".shows-side, .shows-members");
}

function closeDrawers() {
  drawer("shows-side", "open-side", false);
  drawer("shows-members", "open-members", false);
}

function askName(wrong = "") {
  at("who-wrong").textContent = wrong;
  at("who-name").value = me.name;
  if (!at("who").open) at("who").showModal();
}

at("write").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("text").value.trim();
  if (!text) return;
  at("text").value = "";
  keepDraft();
  grow();
  write(text);
  at("text").focus();
});
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("write").requestSubmit();
  }
});
at("text").addEventListener("input", () => {
  grow();
  keepDraft();
});
at("text").addEventListener("paste", (event) => event.clipboardData.files.length && sendFile(event.clipboardData.files[0]));
at("attach").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => {
  sendFile(at("file").files[0]);
  at("file").value = "";
});
list.addEventListener("dragover", (event) => event.preventDefault());
list.addEventListener("drop", (event) => {
  event.preventDefault();
  sendFile(event.dataTransfer.files[0]);
});
list.addEventListener("scroll", () => {
  if (list.scrollTop < 200 && current) fetchBefore(current);
  if (isAtEnd() && current) {
    at("newest").hidden = true;
    if (current.unread && !document.hidden) {
      markRead(current);
      showRooms();
    }
  }
});
at("newest").addEventListener("click", () => {
  toEnd();
  markRead(current);
  showRooms();
});
at("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = fold(at("join-room").value.trim().replace(/^#/, ""));
  at("join-room").value = "";
  if (name && name !== "@") open(name);
});
at("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  search(at("search").value);
});
at("leave").addEventListener("click", leave);
at("bell").addEventListener("click", toggleBell);
at("bell").setAttribute("aria-pressed", String(Boolean(rings)));
at("rename").addEventListener("click", () => askName());
at("open-side").addEventListener("click", () => drawer("shows-side", "open-side", true));
at("open-members").addEventListener("click", () => drawer("shows-members", "open-members", !at("app").classList.contains("shows-members")));
at("shade").addEventListener("click", closeDrawers);
at("who-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = at("who-name").value.trim();
  if (!name) return;
  at("who").close();
  const isFirst = !connection;
  me.name = name;
  remember("name", name);
  showMe();
  if (isFirst) connect();
  else connection.socket.close();
});
at("who").addEventListener("cancel", (event) => me.name && connection ? undefined : event.preventDefault());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && current && isAtEnd() && current.unread) {
    markRead(current);
    showRooms();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    closeDrawers();
    if (!at("found").hidden) closeSearch();
  } else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    drawer("shows-side", "open-side", true);
    at("join-room").focus();
  } else if (event.altKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    const names = [...rooms.values()].sort((a, b) => a.isDirect - b.isDirect).map((room) => room.name);
    const step = event.key === "ArrowDown" ? 1 : -1;
    open(names[(names.indexOf(current.name) + step + names.length) % names.length]);
  }
});

// --- the beginning -------------------------------------------------------------------------------

const inAddress = decodeURIComponent(location.pathname.slice(root.length + 1)).toLowerCase();
for (const name of [...remembered("rooms", []), firstRoom]) opened(name);
for (const waiting of outbox) {
  if (waiting.room === undefined) continue;
  opened(waiting.room).lines.push({ event: "message", room: waiting.room, user: me.name, time: Date.now() / 1000, text: waiting.text, waiting });
}
open(inAddress && !inAddress.startsWith("@") ? inAddress : firstRoom);
if (needsLogin) {
  me.name = "";
  at("rename").hidden = true; // the token says who it is
  await whoAmI();
}
if (me.name) {
  showMe();
  connect();
} else if (!needsLogin) {
  askName();
}
