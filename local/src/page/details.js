// One event or one environment, with all that is known of it.

import { byId, clock, count, duration, element, prettyText } from "./dom.js";
import { statusWords } from "./lists.js";

const NOTHING = { Event: "nothing", Answer: "nothing, or a stream, which is not kept", Error: "nothing" };

export class Details {
  /** `actions`: `replay(event)`, `edit(function, payload)`, `select(thing)`. */
  constructor(actions) {
    this.actions = actions;
    this.drawn = "";
    /** Number of a journal entry → its whole text, where the journal's stream had it cut. */
    this.whole = new Map();
  }

  draw(state, selected) {
    // What the content depends on; while it stays the same, the reader's selection and place stay too.
    const depends = selected ? `${selected.key ?? "#"}${selected.number ?? ""} ${this.#changes(selected)}` : "";
    if (depends === this.drawn) return;
    const isOther = depends.split(" ")[0] !== this.drawn.split(" ")[0];
    this.drawn = depends;
    const content = byId("details-content");
    if (!selected) {
      const hint = element("p", { className: "quiet-text", text: "Choose an event or an environment." });
      content.replaceChildren(hint);
      return;
    }
    const places = [...content.querySelectorAll(".text")].map(({ scrollTop }) => scrollTop);
    content.replaceChildren(
      ...(selected.key === undefined ? this.#environment(state, selected) : this.#event(state, selected)),
    );
    if (isOther) byId("details").scrollTop = 0;
    else content.querySelectorAll(".text").forEach((text, index) => (text.scrollTop = places[index] ?? 0));
  }

  #changes({ changes, status, state, events, lines, current }) {
    return `${changes} ${status} ${state} ${events} ${lines.length} ${current?.length} ${this.whole.size}`;
  }

  #event(state, event) {
    const { report, requestId } = event;
    const environment = state.environments.get(event.environment);
    const facts = [
      ["request id", requestId && element("code", { text: requestId })],
      ["time", clock(event.start)],
      ["duration", report && `${duration(report.duration_ms)}, billed ${billed(report)} ms`],
      ["start", requestId && startWords(event)],
      ["memory", report && `${report.peak_memory_mib ?? "?"} of ${report.memory_mib} MiB`],
      ["environment", environment ? this.#linkTo(environment) : null],
    ];
    const parts = [
      element(
        "p",
        { className: "what" },
        element("b", { text: event.source }),
        element("span", { text: event.function }),
        element("span", { className: "status", data: { status: event.status }, text: statusWords(event) }),
      ),
      factList(facts),
    ];
    if (requestId) parts.push(this.#buttons(event));
    if (event.payload) parts.push(...this.#textBlock("Event", event.payload));
    if (event.answer) parts.push(...this.#textBlock(event.isError ? "Error" : "Answer", event.answer, event.isError));
    if (requestId) parts.push(...log(event, environment));
    return parts;
  }

  #buttons(event) {
    const replay = element("button", { type: "button", className: "primary", id: "replay", text: "Replay" });
    replay.addEventListener("click", () => this.actions.replay(event));
    const edit = element("button", { type: "button", className: "quiet", text: "Edit and send" });
    edit.addEventListener("click", async () => {
      const text = event.payload.isCut ? await this.#fetchWhole(event.payload) : event.payload.text;
      this.actions.edit(event.function, text);
    });
    return element("div", { className: "buttons" }, replay, edit);
  }

  #environment(state, environment) {
    const { number, function: name, started, ready, initMs, gone, reason } = environment;
    const words = { starting: "starting", busy: "busy", idle: "ready", frozen: "frozen (SIGSTOP)", gone: "gone" };
    const facts = [
      ["function", environment.version ? `${name}, version ${environment.version}` : name],
      ["process", environment.pid && String(environment.pid)],
      ["started", clock(started)],
      ["Init", initMs !== null && duration(initMs)],
      ["ready", ready !== null && clock(ready)],
      ["events", String(environment.events)],
      ["gone", gone !== null && `${clock(gone)}: ${reason}`],
    ];
    const events = state.events
      .filter((event) => event.environment === number)
      .slice(-30)
      .reverse();
    const rows = events.map((event) =>
      element("li", {}, this.#linkTo(event), ` ${statusWords(event)} `, duration(event.report?.duration_ms)),
    );
    return [
      element(
        "p",
        { className: "what" },
        element("b", { text: `Environment ${number}` }),
        element("span", { text: words[environment.state] }),
      ),
      factList(facts),
      ...(rows.length
        ? [element("h3", { text: "Latest events" }), element("ul", { className: "facts-list" }, ...rows)]
        : []),
      ...(environment.lines.length ? [element("h3", { text: "Log outside of events" }), lineBlock(environment)] : []),
    ];
  }

  #linkTo(thing) {
    const text = thing.key === undefined ? `#${thing.number}` : `${clock(thing.start)} ${thing.source}`;
    const choose = () => this.actions.select(thing);
    return element("button", { type: "button", className: "link-button", text, on: { click: choose } });
  }

  #textBlock(title, part, isBad = false) {
    const text = this.whole.get(part.sequence) ?? part.text;
    if (text === "")
      return [element("h3", { text: title }), element("p", { className: "note", text: NOTHING[title] })];
    const block = prettyText(text);
    block.setAttribute("aria-label", title);
    block.classList.toggle("bad", isBad);
    block.dataset.part = title.toLowerCase();
    const copy = element("button", { type: "button", className: "quiet", text: "copy" });
    copy.addEventListener("click", () => navigator.clipboard?.writeText(text));
    const size = element("span", {
      className: "quiet-text",
      text: sizeOf(text, part.isCut && !this.whole.has(part.sequence)),
    });
    const parts = [element("h3", { text: title }, size, copy), block];
    if (part.isCut && !this.whole.has(part.sequence)) {
      const all = element("button", { type: "button", className: "quiet", text: "show all that is kept" });
      all.addEventListener("click", () => this.#fetchWhole(part).then(() => this.actions.refresh()));
      parts.push(element("p", { className: "note" }, all));
    }
    return parts;
  }

  /** What the platform keeps of a text, which is 256 KiB of it. */
  async #fetchWhole({ sequence, text: beginning }) {
    const response = await fetch(`/_page/text/${sequence}`);
    const text = response.ok ? await response.text() : `${beginning}\n(no more of it is kept)`;
    // One or two large texts at a time are enough to read.
    if (this.whole.size > 3) this.whole.clear();
    this.whole.set(sequence, text);
    return text;
  }
}

function factList(facts) {
  const known = facts.filter(([, value]) => value);
  const rows = known.flatMap(([name, value]) => [element("dt", { text: name }), element("dd", {}, value)]);
  return element("dl", { className: "facts" }, ...rows);
}

function startWords(event) {
  if (!event.isCold) return "warm";
  return event.report?.init_ms ? `cold, Init ${duration(event.report.init_ms)}` : "cold";
}

/** The lines of an event between those that Lambda writes around them. */
function log(event, environment) {
  const { report, requestId } = event;
  const block = lineBlock(event);
  const platform = (text) => element("span", { className: "platform", text: `${text}\n` });
  if (event.isCold && environment?.lines.length) {
    block.prepend(...environment.lines.slice(0, 20).map((line) => platform(line)));
  }
  const start = platform(`START RequestId: ${requestId} Version: $LATEST`);
  block.insertBefore(start, block.querySelector(".line") ?? null);
  if (report) block.append(platform(`END RequestId: ${requestId}`), platform(reportLine(report)));
  block.dataset.part = "log";
  return [element("h3", { text: "Log" }), block];
}

function lineBlock({ lines, omittedLines }) {
  const block = element("pre", { className: "text", tabIndex: 0, attributes: { "aria-label": "log" } });
  block.append(...lines.map((line) => element("span", { className: "line", text: `${line}\n` })));
  if (omittedLines > 0) block.append(`(${count(omittedLines, "more line")})\n`);
  return block;
}

function billed(report) {
  return Math.ceil(report.duration_ms + (report.init_ms ?? 0));
}

function reportLine(report) {
  const parts = [
    `REPORT RequestId: ${report.request_id}`,
    `Duration: ${report.duration_ms.toFixed(2)} ms`,
    `Billed Duration: ${billed(report)} ms`,
    `Memory Size: ${report.memory_mib} MB`,
    report.peak_memory_mib !== null && `Max Memory Used: ${report.peak_memory_mib} MB`,
    report.init_ms !== null && `Init Duration: ${report.init_ms.toFixed(2)} ms`,
    report.status !== "success" && `Status: ${report.status === "timeout" ? "timeout" : "error"}`,
  ];
  return parts.filter(Boolean).join("\t");
}

function sizeOf(text, isCut) {
  if (isCut) return "the beginning";
  const bytes = new TextEncoder().encode(text).length;
  return bytes < 1024 ? count(bytes, "byte") : `${(bytes / 1024).toFixed(1)} KiB`;
}
