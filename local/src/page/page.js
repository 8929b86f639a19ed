// Reads the journal and brings the page up to date, once a frame at most.

import { Details } from "./details.js";
import { byId, count, duration, element, setData, setText } from "./dom.js";
import { Environments, Events, drawQueues, statusWords } from "./lists.js";
import { Forms, ask } from "./send.js";
import { State } from "./state.js";
import { Timeline } from "./timeline.js";

const RUN = document.querySelector('meta[name="orlop-run"]').content;
/** How long to wait before the journal is asked for again, where the browser has given up. */
const RETRY_MS = 2000;
/** The least time between two sentences for a reader who cannot see, so that they can be listened to. */
const SPEAK_MS = 4000;

const state = new State();
/** The chosen event or environment. */
let selected = null;
/** The request id of what this page has just sent, to be chosen when it appears. */
let awaited = null;
let dismissedNotice = 0;
let drawnVersion = 0;
let isScheduled = false;
let spoken = { text: "", at: 0 };

const environments = new Environments(select);
const events = new Events(select);
const timeline = new Timeline(byId("timeline"), { onSelect: select, onHover: showTooltip });
const forms = new Forms({ onSent: ([first]) => (awaited = first), say });
const details = new Details({
  select,
  refresh: () => redraw(),
  edit: (name, payload) => forms.edit(name, payload),
  replay: (event) =>
    ask("/_page/replay", { request_id: event.requestId }).then(
      ({ request_ids: [first] }) => {
        awaited = first;
        say("replayed");
      },
      ({ message }) => alertOnce("replay", message),
    ),
});
events.onMore = redraw;

function select(thing) {
  selected = thing;
  if (thing?.key !== undefined) say(`${thing.source}: ${statusWords(thing)}`);
  redraw();
}

function redraw() {
  drawnVersion = 0;
  schedule();
}

function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(draw);
}

function draw() {
  isScheduled = false;
  if (awaited !== null && state.byRequest.has(awaited)) {
    selected = state.byRequest.get(awaited);
    awaited = null;
    drawnVersion = 0;
  }
  if (drawnVersion !== state.version) {
    drawnVersion = state.version;
    const counts = environments.draw(state, selected);
    events.draw(state, selected);
    details.draw(state, selected);
    forms.draw(state);
    drawQueues(state);
    drawFigures();
    drawBuilds();
    drawNotice();
    drawPlaces();
    describe(counts);
  }
  const isMoving = timeline.draw(state, selected);
  // While something runs its bar grows; otherwise the page rests.
  const isStill = !isMoving && !state.isActive();
  setData(byId("timeline"), "state", isStill ? "still" : "moving");
  if (!isStill) schedule();
}

function drawFigures() {
  const { events: all, cold, failed, throttled } = state.totals;
  const { init, warm } = state.medians();
  const figures = [
    ["events", all.toLocaleString("en")],
    ["cold", cold.toLocaleString("en")],
    ["failed", failed.toLocaleString("en"), failed > 0],
    ["throttled", throttled.toLocaleString("en"), throttled > 0],
    ["median Init", init === null ? "–" : duration(init)],
    ["median warm", warm === null ? "–" : duration(warm)],
  ];
  const list = byId("figures");
  if (!list.childElementCount) {
    list.append(...figures.map(([name]) => element("div", {}, element("dt", { text: name }), element("dd"))));
  }
  figures.forEach(([, value, isBad], index) => {
    setText(list.children[index].lastChild, value);
    list.children[index].classList.toggle("bad", Boolean(isBad));
  });
}

function drawBuilds() {
  const list = byId("builds");
  const builds = [...state.builds.values()];
  while (list.childElementCount > builds.length) list.lastChild.remove();
  while (list.childElementCount < builds.length) list.append(element("li"));
  builds.forEach(({ name, status, durationMs }, index) => {
    const words = {
      building: `building ${name}`,
      built: `${name} built in ${duration(durationMs)}`,
      failed: `${name} does not build`,
    };
    setData(list.children[index], "status", status);
    setText(list.children[index], words[status]);
  });
  const failed = builds.filter(({ status }) => status === "failed");
  for (const { name, message } of failed) {
    alertOnce(`build ${name}`, `${name} does not build; the version before goes on serving.`, message);
  }
  for (const { name, status } of builds) {
    if (status !== "failed")
      byId("alerts")
        .querySelector(`[data-about="${CSS.escape(`build ${name}`)}"]`)
        ?.remove();
  }
}

function drawNotice() {
  const latest = state.notices.at(-1);
  if (!latest || latest.at <= dismissedNotice) return;
  dismissedNotice = latest.at;
  alertOnce("notice", latest.text, null, true);
}

function drawPlaces() {
  const list = byId("places");
  if (list.childElementCount || !state.awsUrl) return;
  const front = state.frontUrl;
  if (front) {
    const link = element("a", { href: front, text: front, target: "_blank", rel: "noopener noreferrer" });
    list.append(element("li", {}, "HTTP ", link));
  }
  list.append(element("li", {}, "AWS endpoint ", element("code", { text: state.awsUrl })));
  const name = state.functions[0]?.name ?? "NAME";
  const aws = `aws lambda invoke --endpoint-url ${state.awsUrl} --function-name ${name} /dev/stdout`;
  setText(byId("hint"), front ? `curl ${front}\n${aws}` : aws);
}

/** A message about something, in place of an older one about the same. */
function alertOnce(about, text, more = null, isCalm = false) {
  const list = byId("alerts");
  const content = `${text}\n${more ?? ""}`;
  const old = list.querySelector(`[data-about="${CSS.escape(about)}"]`);
  if (old?.dataset.content === content) return;
  old?.remove();
  const close = element("button", { type: "button", className: "quiet close", text: "close" });
  const banner = element(
    "div",
    { className: `banner${isCalm ? " calm" : ""}`, data: { about, content } },
    close,
    text,
  );
  if (more !== null) banner.append(element("pre", { text: more, tabIndex: 0 }));
  // The build's stays until it is mended; hidden, so that it does not come again.
  close.addEventListener("click", () => (banner.hidden = true));
  list.append(banner);
}

function showTooltip(event, x, y) {
  const tooltip = byId("tooltip");
  tooltip.hidden = event === null;
  schedule();
  if (event === null) return;
  const start = event.isCold ? "cold" : "warm";
  const time = event.report ? duration(event.report.duration_ms) : "";
  const words = [event.function, statusWords(event), time, event.requestId ? start : "", `#${event.environment}`];
  tooltip.replaceChildren(element("b", { text: event.source }), words.filter(Boolean).join(" · "));
  tooltip.style.left = `${Math.min(x + 12, innerWidth - tooltip.offsetWidth - 8)}px`;
  tooltip.style.top = `${Math.min(y + 16, innerHeight - tooltip.offsetHeight - 8)}px`;
}

/** Says something to a reader who cannot see, now. */
function say(text) {
  spoken = { text, at: Date.now() };
  byId("live").textContent = text;
}

/** Says how things stand, now and then. */
function describe({ starting, busy, frozen }) {
  const fleet = `${starting} starting, ${busy} busy, ${frozen} frozen`;
  const text = `${count(state.totals.events, "event")}. Environments: ${fleet}.`;
  if (text === spoken.text || state.totals.events === 0) return;
  clearTimeout(describe.later);
  const wait = Math.max(600, spoken.at + SPEAK_MS - Date.now());
  describe.later = setTimeout(() => say(text), wait);
}

function readJournal() {
  const source = new EventSource("/_page/journal");
  const on = (name, take) =>
    source.addEventListener(name, (message) => {
      take(message.data === "" ? null : JSON.parse(message.data));
      schedule();
    });
  on("message", (entry) => state.apply(entry));
  on("reset", () => {
    state.clear();
    environments.clear();
    events.clear();
    selected = null;
  });
  on("hello", (hello) => {
    // Another process of the platform: its token differs from this page's.
    if (hello.run !== RUN) return location.reload();
    state.greet(hello);
    showLink("live", "live");
  });
  on("queues", (queues) => {
    state.queues = queues;
    state.version++;
  });
  source.addEventListener("error", () => {
    showLink("lost", "connection lost, trying again");
    if (source.readyState === EventSource.CLOSED) setTimeout(readJournal, RETRY_MS);
  });
}

function showLink(word, text) {
  setData(byId("link"), "state", word);
  setText(byId("link"), text);
}

byId("spans").addEventListener("change", ({ target }) => {
  timeline.span = target.value === "" ? null : Number(target.value);
  schedule();
});
byId("timeline").addEventListener("keydown", (key) => {
  const step = { ArrowLeft: 1, ArrowRight: -1 }[key.key];
  if (!step) return;
  key.preventDefault();
  events.step(step);
});
addEventListener("resize", schedule);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", schedule);
readJournal();
