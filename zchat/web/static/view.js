// What is on the page for a message, a member, a room. Whatever others wrote is text, and never markup; what turns the
// direction of what stands beside it, or is not seen, is shown as an escape, as on a terminal.

const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"]);
const LINK = /\bhttps?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}]/g;
const TOGETHER = 300; // seconds: what one writes within them stands together

export const at = (id) => document.getElementById(id);

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
export const visible = (text) => text.replace(HIDDEN, (hidden) => `\\u${hidden.charCodeAt(0).toString(16).padStart(4, "0")}`);

export function made(name, className, ...inside) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...inside.map((each) => (typeof each === "string" ? visible(each) : each)));
  return element;
}

export function face(user, isSmall) {
  let hash = 2166136261; // FNV-1a
  for (const letter of user.toLowerCase()) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619) >>> 0;
  const shown = made("span", `face hue-${(hash >>> 8) % 12}${isSmall ? " small" : ""}`, [...user][0] || "?");
  shown.setAttribute("aria-hidden", "true");
  return shown;
}

export const clock = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

export function day(seconds) {
  const then = new Date(seconds * 1000);
  const today = new Date();
  if (then.toDateString() === today.toDateString()) return "Today";
  today.setDate(today.getDate() - 1);
  if (then.toDateString() === today.toDateString()) return "Yesterday";
  return then.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}

// Text with its links, which lead out of here in a window of their own.
export function withLinks(text) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(LINK)) {
    parts.push(text.slice(end, found.index));
    const link = made("a", "", found[0]);
    link.href = found[0];
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    parts.push(link);
    end = found.index + found[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

function size(bytes) {
  return bytes < 1000 ? `${bytes} bytes` : bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function file(line, place) {
  const headers = line.headers || {};
  const name = visible(headers.filename || "file");
  if (PICTURES.has(headers["content-type"])) {
    const picture = made("img", "picture");
    picture.src = place;
    picture.alt = name;
    picture.loading = "lazy";
    return picture;
  }
  const link = made("a", "file", made("span", "", name, made("small", "", `${size(line.bytes)} · download`)));
  link.href = place;
  link.download = name;
  return link;
}

export function body(line, placeOf) {
  const shown = made("div", "body");
  if (line.event !== "message") shown.append(made("span", "event", line.event));
  if (line.bytes !== undefined) shown.append(file(line, placeOf(line)));
  else if (line.args) shown.append(made("code", "", JSON.stringify(line.args)));
  else shown.append(...withLinks(visible(line.text)));
  return shown;
}

// A message, as it stands below the one before it.
export function message(line, before, placeOf, chooses) {
  const follows =
    before && before.user === line.user && before.event === line.event && line.event === "message" &&
    line.time - before.time < TOGETHER && day(before.time) === day(line.time);
  const name = made("button", "", line.user);
  name.type = "button";
  name.title = `Write to ${line.user}`;
  name.addEventListener("click", () => chooses(line.user));
  const time = made("time", "", clock(line.time));
  time.dateTime = new Date(line.time * 1000).toISOString();
  const shown = made("article", `message${follows ? "" : " starts"}`, face(line.user), made("div", "line", name, time), body(line, placeOf));
  shown.setAttribute("aria-label", `${line.user}, ${clock(line.time)}`);
  return shown;
}

export function note(line) {
  const lost = line.reason && line.reason !== "bye" ? " (connection lost)" : "";
  const what = { join: `${line.user} joined`, leave: `${line.user} left${lost}` };
  return made("p", "note", what[line.event] || "Some messages are not there any more.");
}

export function separator(text, isUnread) {
  return made("div", `day${isUnread ? " unread-line" : ""}`, made("span", "", text));
}
