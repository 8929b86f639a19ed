// The forms: an event for a function, a message for a queue.

import { byId, count, element } from "./dom.js";

const TOKEN = document.querySelector('meta[name="orlop-token"]').content;

/** Asks the platform to do something. Resolves with its answer; rejects with its words. */
export async function ask(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-orlop-token": TOKEN },
    body: JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({ message: `HTTP ${response.status}` }));
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

export class Forms {
  /** `onSent` gets the request ids of what was sent; `say` tells a reader who cannot see. */
  constructor({ onSent, say }) {
    this.onSent = onSent;
    this.say = say;
    this.known = "";
    this.examples = [];
    byId("event-tab").addEventListener("click", () => this.#show("event"));
    byId("message-tab").addEventListener("click", () => this.#show("message"));
    document.querySelector('[role="tablist"]').addEventListener("keydown", ({ key }) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      const other = byId("event-tab").ariaSelected === "true" ? "message" : "event";
      this.#show(other);
      byId(`${other}-tab`).focus();
    });
    byId("function").addEventListener("change", () => this.#offerExamples());
    byId("example").addEventListener("change", () => this.#takeExample());
    byId("payload").addEventListener("input", () => (byId("example").value = ""));
    this.#submits("event", () => this.#sendEvent());
    this.#submits("message", () => this.#sendMessages());
  }

  /** Offers the functions, examples and queues that there are; what the reader has chosen or written stays. */
  draw({ functions, examples, queues }) {
    const names = functions.map(({ name }) => name);
    const queueNames = queues.map(({ name }) => name);
    const known = JSON.stringify([names, queueNames, examples.length]);
    if (known === this.known) return;
    const isFirst = this.examples.length === 0 && examples.length > 0;
    this.known = known;
    this.examples = examples;
    offer(
      byId("function"),
      names.map((name) => [name, name]),
    );
    offer(
      byId("queue"),
      queueNames.map((name) => [name, name]),
    );
    byId("message-tab").hidden = queueNames.length === 0;
    if (isFirst && byId("payload").value.trim() === "{}") {
      const first = examples.find((example) => names.includes(example.function));
      if (first) byId("function").value = first.function;
      this.#offerExamples();
      byId("example").value = first ? String(examples.indexOf(first)) : "";
      this.#takeExample();
    } else {
      this.#offerExamples();
    }
  }

  /** Puts an event into the form. */
  edit(name, payload) {
    this.#show("event");
    byId("function").value = name;
    this.#offerExamples();
    byId("example").value = "";
    byId("payload").value = indented(payload);
    byId("payload").focus();
  }

  #show(which) {
    for (const name of ["event", "message"]) {
      byId(`${name}-form`).hidden = name !== which;
      const tab = byId(`${name}-tab`);
      tab.ariaSelected = String(name === which);
      tab.tabIndex = name === which ? 0 : -1;
    }
  }

  #offerExamples() {
    const name = byId("function").value;
    const own = this.examples.map((example, index) => [String(index), example.name, example.function]);
    const offered = own.filter(([, , of]) => of === name).map(([index, label]) => [index, label]);
    offer(byId("example"), [["", offered.length ? "your own" : "none"], ...offered]);
  }

  #takeExample() {
    const example = this.examples[byId("example").value];
    if (example) byId("payload").value = indented(example.payload);
  }

  #submits(which, send) {
    const form = byId(`${which}-form`);
    form.addEventListener("submit", (submit) => {
      submit.preventDefault();
      send().catch(({ message }) => this.#result(which, message, true));
    });
    form.addEventListener("keydown", (key) => {
      if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) form.requestSubmit();
    });
  }

  async #sendEvent() {
    const payload = byId("payload").value;
    const times = Number(byId("count").value);
    const example = this.examples[byId("example").value];
    const body = { function: byId("function").value, payload, count: times, example: example?.name ?? null };
    const { request_ids: requestIds } = await ask("/_page/invoke", body);
    this.#result("event", `${count(times, "event")} sent`);
    this.onSent(requestIds);
  }

  async #sendMessages() {
    const times = Number(byId("message-count").value);
    await ask("/_page/send", { queue: byId("queue").value, body: byId("body").value, count: times });
    this.#result("message", `${count(times, "message")} sent`);
  }

  #result(which, text, isBad = false) {
    const output = byId(`${which}-result`);
    output.textContent = text;
    output.toggleAttribute("data-bad", isBad);
    this.say(text);
    clearTimeout(this.fading);
    if (!isBad) this.fading = setTimeout(() => (output.textContent = ""), 5000);
  }
}

/** Options of `[value, label]`; the chosen one stays chosen. */
function offer(select, options) {
  const chosen = select.value;
  select.replaceChildren(...options.map(([value, text]) => element("option", { value, text })));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

function indented(text) {
  // Numbers beyond the precision of JavaScript would come out changed.
  if (/\d{16}/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
