// Small helpers. Everything that people wrote goes in as text, never as HTML.

export const $ = (id) => document.getElementById(id);

export function element(tag, className = "", ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content.filter((each) => each !== undefined));
  return made;
}

// Changes the text only if it is another one: a live region would read it again.
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

export function complain(id, text = "") {
  setText($(id), text);
}

export function clock(at) {
  const made = element("time", "meta", new Date(at).toLocaleTimeString());
  made.dateTime = at;
  return made;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// Puts `item` at the end of a list, which shows the last `most`, and follows unless somebody reads further up.
export function appendTo(list, item, most) {
  const reading = list.scrollHeight - list.scrollTop - list.clientHeight > 80;
  list.querySelector(".empty")?.remove();
  list.append(item);
  while (list.childElementCount > most) list.firstElementChild.remove();
  if (!reading) list.scrollTop = list.scrollHeight;
}
