// The environments as cells, and the events as a table. Both are brought up to date in place, never made anew.

import { FADE_MS, STATUS_WORDS } from "./state.js";
import { byId, clock, count, duration, element, setData, setText } from "./dom.js";

const STATE_WORDS = { starting: "starting", busy: "busy", idle: "ready", frozen: "frozen", gone: "gone" };
/** How many rows are shown at first, and how many more at a time. */
const ROWS = 150;

export class Environments {
  /** `onSelect` gets an environment. */
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.cells = new Map();
    this.fleets = new Map();
    this.legend = new Map();
    for (const [state, word] of Object.entries(STATE_WORDS)) {
      const number = element("b", { text: "0" });
      const entry = element("li", { data: { state } }, element("span", { className: "swatch" }), number, word);
      byId("legend").append(entry);
      this.legend.set(state, { entry, number });
    }
  }

  draw(state, selected) {
    for (const { name, concurrency } of state.functions) this.#fleet(name, concurrency);
    const present = state.present();
    const counts = { starting: 0, busy: 0, idle: 0, frozen: 0, gone: 0 };
    for (const environment of present) {
      counts[environment.state]++;
      this.#drawCell(environment, environment === selected);
    }
    counts.gone = state.totals.gone;
    for (const [word, { entry, number }] of this.legend) {
      setText(number, counts[word].toLocaleString("en"));
      setData(entry, "count", String(counts[word]));
    }
    const numbers = new Set(present.map(({ number }) => number));
    for (const [number, cell] of this.cells) {
      if (numbers.has(number)) continue;
      cell.remove();
      this.cells.delete(number);
    }
    for (const { cells, none, size } of this.fleets.values()) {
      const living = cells.childElementCount - 1;
      none.hidden = living > 0;
      setText(size, living > 0 ? String(living) : "");
    }
    // Those that have gone are taken away when they have faded.
    if (present.some(({ gone }) => gone !== null)) {
      clearTimeout(this.cleaning);
      this.cleaning = setTimeout(() => this.draw(state, selected), FADE_MS + 100);
    }
    return counts;
  }

  #fleet(name, concurrency) {
    let fleet = this.fleets.get(name);
    if (!fleet) {
      const none = element("span", { className: "none", text: "no environment yet" });
      const cells = element("div", { className: "cells" }, none);
      const size = element("small");
      const title = element("h3", { text: name, title: name }, size);
      const list = byId("fleets");
      const next = [...list.children].find((other) => other.dataset.function > name);
      list.insertBefore(element("div", { className: "fleet", data: { function: name } }, title, cells), next ?? null);
      fleet = { cells, none, size, title };
      this.fleets.set(name, fleet);
    }
    if (concurrency) fleet.title.title = `${name}, at most ${concurrency} at once`;
    return fleet;
  }

  #drawCell(environment, isSelected) {
    const { number, state, function: name, running, events } = environment;
    let cell = this.cells.get(number);
    if (!cell) {
      cell = element("button", {
        type: "button",
        className: "cell",
        text: String(number),
        data: { number },
        on: { click: () => this.onSelect(environment) },
      });
      this.cells.set(number, cell);
      const { cells } = this.#fleet(name);
      // In order; nearly always the last.
      let next = null;
      for (
        let other = cells.lastElementChild;
        Number(other.dataset.number) > number;
        other = other.previousElementSibling
      ) {
        next = other;
      }
      cells.insertBefore(cell, next);
    }
    setData(cell, "state", state);
    const doing = state === "busy" && running > 1 ? `busy with ${running} events` : STATE_WORDS[state];
    const words = `environment ${number} of ${name}: ${doing}, ${count(events, "event")}`;
    if (cell.title !== words) {
      cell.title = words;
      cell.setAttribute("aria-label", words);
    }
    const pressed = String(isSelected);
    if (cell.getAttribute("aria-pressed") !== pressed) cell.setAttribute("aria-pressed", pressed);
  }

  /** Forgets all cells; the journal is read again. */
  clear() {
    for (const cell of this.cells.values()) cell.remove();
    this.cells.clear();
  }
}

export function drawQueues(state) {
  const list = byId("queues");
  const known = list.childElementCount === state.queues.length;
  if (!known) list.replaceChildren(...state.queues.map(() => element("li", {}, element("b"), " ", element("span"))));
  state.queues.forEach(({ name, waiting, in_flight: inFlight }, index) => {
    const [title, numbers] = list.children[index].children;
    setText(title, name);
    setText(numbers, `${waiting.toLocaleString("en")} waiting, ${inFlight.toLocaleString("en")} in flight`);
    numbers.className = waiting + inFlight > 0 ? "some" : "";
  });
}

export class Events {
  /** `onSelect` gets an event. */
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.rows = new Map();
    this.limit = ROWS;
    this.shown = [];
    byId("more").addEventListener("click", () => {
      this.limit += ROWS;
      this.onMore();
    });
    byId("filter").addEventListener("input", () => this.onMore());
    byId("rows").addEventListener("keydown", (key) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[key.key];
      if (!step) return;
      key.preventDefault();
      this.step(step);
      this.rows.get(this.selected?.key)?.querySelector("button").focus();
    });
  }

  /** Called when other rows are to be shown. */
  onMore() {}

  /** Chooses the event before or after the chosen one; the list is newest first. */
  step(by) {
    const index = this.shown.indexOf(this.selected);
    const next = this.shown[index < 0 ? 0 : Math.max(0, Math.min(this.shown.length - 1, index + by))];
    if (next) this.onSelect(next);
  }

  draw(state, selected) {
    this.selected = selected;
    const words = byId("filter").value.trim().toLowerCase();
    const matching = words === "" ? state.events : state.events.filter((event) => matches(event, words));
    this.shown = matching.slice(-this.limit).reverse();
    const body = byId("rows");
    const keys = new Set(this.shown.map(({ key }) => key));
    for (const [key, row] of this.rows) {
      if (keys.has(key)) continue;
      row.remove();
      this.rows.delete(key);
    }
    let place = body.firstElementChild;
    for (const event of this.shown) {
      const row = this.#row(event, event === selected);
      // Rows that are there already are in order; new ones come before the one at this place.
      if (row === place) place = place.nextElementSibling;
      else body.insertBefore(row, place);
    }
    const rest = matching.length - this.shown.length;
    const more = byId("more");
    more.hidden = rest === 0;
    setText(more, `show older events (${rest.toLocaleString("en")})`);
    byId("empty").hidden = state.events.length > 0;
    byId("events").hidden = state.events.length === 0;
  }

  #row(event, isSelected) {
    let row = this.rows.get(event.key);
    if (!row) {
      const choose = element("button", { type: "button", text: clock(event.start) });
      row = element(
        "tr",
        { data: { key: event.key, request: event.requestId ?? "" }, on: { click: () => this.onSelect(event) } },
        element("td", {}, choose),
        element("td", { text: event.function }),
        element("td", { text: event.source, title: event.source }),
        element("td", {}, element("span", { className: "status" })),
        element("td", { className: "number" }),
        element("td"),
        element("td", { className: "number", text: event.environment === null ? "" : `#${event.environment}` }),
      );
      this.rows.set(event.key, row);
    }
    const current = String(isSelected);
    if (row.getAttribute("aria-current") !== current) row.setAttribute("aria-current", current);
    if (row.dataset.drawn !== `${event.status} ${event.changes}`) this.#update(row, event);
    return row;
  }

  #update(row, event) {
    row.dataset.drawn = `${event.status} ${event.changes}`;
    const [, , , status, time, start] = row.children;
    setData(status.firstChild, "status", event.status);
    setText(status.firstChild, statusWords(event));
    setText(time, event.report ? duration(event.report.duration_ms) : "");
    if (event.requestId === null) return;
    const init = event.report?.init_ms;
    start.className = event.isCold ? "cold" : "warm";
    setText(start, event.isCold ? (init ? `cold, ${duration(init)}` : "cold") : "warm");
  }

  /** Forgets all rows; the journal is read again. */
  clear() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.limit = ROWS;
  }
}

/** How an event stands, with the HTTP status of its answer if it has one. */
export function statusWords(event) {
  const words = STATUS_WORDS[event.status] ?? event.status;
  return event.httpStatus && event.status === "success" ? `${words}, ${event.httpStatus}` : words;
}

function matches(event, words) {
  const start = event.isCold ? "cold" : "warm";
  const text = [event.function, event.source, statusWords(event), start, event.requestId].join(" ");
  return text.toLowerCase().includes(words);
}
