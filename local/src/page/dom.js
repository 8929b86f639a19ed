// Small helps for making elements and words. What functions and callers say comes in as text, never as markup.

/** An element. `properties` are set as such; `data`, `attributes` and `on` are dictionaries; `text` is its text. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  const { data, attributes, on, text, ...own } = properties;
  Object.assign(made, own);
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(attributes ?? {})) made.setAttribute(name, value);
  for (const [name, listener] of Object.entries(on ?? {})) made.addEventListener(name, listener);
  if (text !== undefined) made.textContent = text;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Sets a text only where it differs, which spares the browser work. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** As [`setText`], for a `data-` attribute. */
export function setData(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

export function clock(time) {
  const date = new Date(time);
  const padded = (number, digits) => String(number).padStart(digits, "0");
  const [hours, minutes, seconds] = [date.getHours(), date.getMinutes(), date.getSeconds()];
  return `${padded(hours, 2)}:${padded(minutes, 2)}:${padded(seconds, 2)}.${padded(date.getMilliseconds(), 3)}`;
}

export function duration(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "";
  if (milliseconds < 10) return `${milliseconds.toFixed(2)} ms`;
  if (milliseconds < 100) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 1)} s`;
}

export const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

/** Above this, JSON is shown without colours: every colour is an element. */
const MAX_COLOURED = 40_000;
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\btrue\b|\bfalse\b|\bnull\b)/g;

/** A text as it is, or, if it is JSON, indented and with colours. */
export function prettyText(text) {
  const block = element("pre", { className: "text", tabIndex: 0 });
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    block.textContent = text;
    return block;
  }
  // Numbers beyond the precision of JavaScript would come out changed.
  const pretty = /\d{16}/.test(text) ? text : JSON.stringify(value, null, 2);
  if (pretty.length > MAX_COLOURED) {
    block.textContent = pretty;
    return block;
  }
  let done = 0;
  for (const match of pretty.matchAll(TOKEN)) {
    block.append(pretty.slice(done, match.index));
    const [whole, string, colon] = match;
    const kind = string ? (colon ? "key" : "string") : "number-value";
    block.append(element("span", { className: kind, text: string ?? whole }), colon ?? "");
    done = match.index + whole.length;
  }
  block.append(pretty.slice(done));
  return block;
}
