// The timeline: a lane for each environment, a bar for each event, the newest on the right. Drawn on a canvas, because
// a hundred lanes with two thousand bars are too much for a document.

/** The most lanes; beyond it those that took an event last are shown. */
const MAX_LANES = 120;
const MAX_LANE_HEIGHT = 18;
const MIN_LANE_HEIGHT = 3;
/** What the lanes share. */
const LANES_HEIGHT = 300;
/** The least height of a function's lanes, so that its name can be read, and the room between functions. */
const MIN_GROUP_HEIGHT = 15;
const GROUP_GAP = 6;
const AXIS_HEIGHT = 20;
const LABEL_WIDTH = 132;
/** Room on the right of the newest event, as a part of the width. */
const ROOM = 0.04;
/** A pause longer than this begins a new picture, where the window is chosen by itself; milliseconds. */
const PAUSE = 6000;
const MIN_WINDOW = 400;
const MAX_WINDOW = 600_000;
/** How much of the way to a new window is gone in a frame. */
const EASE = 0.22;

const DOTS = [1, 2, 5];

export class Timeline {
  /** `onSelect` gets an event, `onHover` an event or `null` with its place in the page. */
  constructor(canvas, { onSelect, onHover }) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    /** The window's length in milliseconds; `null` if it follows what happens. */
    this.span = null;
    this.view = null;
    this.bars = [];
    this.hovered = null;
    this.colours = null;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (this.colours = null));
    canvas.addEventListener("pointermove", (pointer) => {
      this.hovered = this.#barAt(pointer.offsetX, pointer.offsetY);
      canvas.style.cursor = this.hovered ? "pointer" : "default";
      onHover(this.hovered, pointer.clientX, pointer.clientY);
    });
    canvas.addEventListener("pointerleave", () => {
      this.hovered = null;
      onHover(null);
    });
    canvas.addEventListener("click", (pointer) => {
      const event = this.#barAt(pointer.offsetX, pointer.offsetY);
      if (event) onSelect(event);
    });
  }

  /** Draws what is known. Returns whether the picture is still on its way to where it should be. */
  draw(state, selected) {
    this.colours ??= readColours(this.canvas);
    const target = this.#window(state);
    const isMoving = this.#move(target);
    const lanes = this.#lanes(state);
    const laneHeight = Math.max(MIN_LANE_HEIGHT, Math.min(MAX_LANE_HEIGHT, LANES_HEIGHT / Math.max(1, lanes.length)));
    const { placeOf, end } = place(lanes, laneHeight);
    const height = Math.ceil(Math.max(end, 54)) + AXIS_HEIGHT;
    this.#resize(height);
    this.context.clearRect(0, 0, this.width, height);
    this.#drawAxis(height);
    this.#drawDeployments(state, height);
    this.#drawLanes(state, lanes, placeOf, laneHeight);
    this.#drawBars(state, placeOf, laneHeight, selected);
    return isMoving;
  }

  /** The window that should be seen: until now while something goes on, and else as it was when it ended. */
  #window(state) {
    const last = state.isActive() ? state.now() : state.lastActivity || state.now();
    const span = this.span ?? latestBurst(state, last);
    return { from: last - span * (1 - ROOM), to: last + span * ROOM };
  }

  #move(target) {
    const view = this.view;
    const isFar = view && Math.abs(target.to - view.to) > 20 * (target.to - target.from);
    if (!view || isFar || this.calm.matches) {
      this.view = target;
      return false;
    }
    view.from += (target.from - view.from) * EASE;
    view.to += (target.to - view.to) * EASE;
    const pixel = (target.to - target.from) / Math.max(1, this.width ?? 1000);
    const isMoving = Math.abs(target.from - view.from) > pixel || Math.abs(target.to - view.to) > pixel;
    if (!isMoving) this.view = target;
    return isMoving;
  }

  #lanes(state) {
    const { from, to } = this.view;
    let lanes = [...state.environments.values()];
    lanes = lanes.filter(({ started, gone }) => started <= to && (gone === null || gone >= from));
    if (lanes.length > MAX_LANES) {
      const latest = new Map();
      for (const event of state.events) latest.set(event.environment, event.start);
      const age = ({ number, started }) => latest.get(number) ?? started;
      lanes = lanes.toSorted((one, other) => age(other) - age(one)).slice(0, MAX_LANES);
    }
    return lanes.toSorted((one, other) => one.function.localeCompare(other.function) || one.number - other.number);
  }

  #resize(height) {
    const ratio = devicePixelRatio || 1;
    this.width = this.canvas.parentElement.clientWidth;
    this.labelWidth = this.width < 560 ? 72 : LABEL_WIDTH;
    const [wide, high] = [Math.round(this.width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== wide || this.canvas.height !== high) {
      this.canvas.width = wide;
      this.canvas.height = high;
      this.canvas.style.height = `${height}px`;
      this.colours = readColours(this.canvas);
    }
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  #x(time) {
    const { from, to } = this.view;
    return this.labelWidth + ((time - from) / (to - from)) * (this.width - this.labelWidth);
  }

  #drawAxis(height) {
    const { context, colours, view } = this;
    const step = axisStep((view.to - view.from) / Math.max(2, Math.floor((this.width - this.labelWidth) / 110)));
    context.font = colours.smallFont;
    context.textBaseline = "alphabetic";
    context.textAlign = "center";
    for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
      const x = Math.round(this.#x(time)) + 0.5;
      context.fillStyle = colours.rule;
      context.fillRect(x - 0.5, 0, 1, height - AXIS_HEIGHT + 4);
      context.fillStyle = colours.faint;
      if (x > this.labelWidth + 24 && x < this.width - 28) context.fillText(clock(time, step), x, height - 4);
    }
  }

  #drawDeployments(state, height) {
    const { context, colours } = this;
    for (const { at, version } of state.deployments) {
      const x = this.#x(at);
      if (x < this.labelWidth || x > this.width) continue;
      context.strokeStyle = colours.accent;
      context.setLineDash([3, 3]);
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height - AXIS_HEIGHT);
      context.stroke();
      context.setLineDash([]);
      context.fillStyle = colours.accent;
      context.textAlign = "left";
      context.fillText(`v${version}`, x + 3, 10);
    }
  }

  /** The lives of environments, on which the events lie: pale while they start, are ready, or are frozen. */
  #drawLanes(state, lanes, placeOf, laneHeight) {
    const { context, colours } = this;
    const gap = gapOf(laneHeight);
    let previous = null;
    for (const environment of lanes) {
      const top = placeOf.get(environment.number);
      const [y, high] = [top + gap, laneHeight - 2 * gap];
      const end = environment.gone ?? this.view.to;
      this.#band(environment.started, end, y, high, colours.life);
      for (const { from, to } of environment.frozen) this.#band(from, to ?? end, y, high, colours.ice);
      const initEnd = environment.ready ?? (environment.state === "starting" ? state.now() : environment.started);
      this.#band(environment.started, initEnd, y, high, colours.starting, 1.5);
      const isFirst = environment.function !== previous;
      previous = environment.function;
      context.textBaseline = "middle";
      if (isFirst) this.#label(environment.function, top, Math.max(laneHeight, 11), "left");
      if (laneHeight >= 11) this.#label(`#${environment.number}`, top, laneHeight, "right");
    }
  }

  #label(text, top, height, side) {
    const { context, colours } = this;
    context.font = side === "left" ? colours.font : colours.smallFont;
    context.fillStyle = side === "left" ? colours.ink : colours.faint;
    context.textAlign = side;
    const room = this.labelWidth - 44;
    let shown = text;
    while (side === "left" && shown.length > 3 && context.measureText(shown).width > room) {
      shown = `${shown.replace(/…$/, "").slice(0, -1)}…`;
    }
    context.fillText(shown, side === "left" ? 2 : this.labelWidth - 8, top + height / 2 + 0.5);
  }

  #band(from, to, y, height, colour, least = 0) {
    const left = Math.max(this.labelWidth, this.#x(from));
    const right = Math.min(this.width, this.#x(to));
    if (right <= this.labelWidth || left >= this.width || right < left) return;
    this.context.fillStyle = colour;
    this.context.fillRect(left, y, Math.max(right - left, least), height);
  }

  #drawBars(state, placeOf, laneHeight, selected) {
    const { context, colours } = this;
    const gap = gapOf(laneHeight);
    const now = state.now();
    this.bars = [];
    for (const event of state.events) {
      const top = placeOf.get(event.environment);
      if (top === undefined) continue;
      const left = Math.max(this.labelWidth, this.#x(event.start));
      const right = Math.min(this.width, this.#x(event.end ?? now));
      if (right < this.labelWidth || left > this.width) continue;
      const [y, wide, high] = [top + gap, Math.max(right - left, 2.5), laneHeight - 2 * gap];
      const isMarked = event === selected || event === this.hovered;
      context.fillStyle = colours[event.status] ?? colours.success;
      context.beginPath();
      context.roundRect(left, y, wide, high, Math.min(3, high / 2, wide / 2));
      context.fill();
      if (event.isCold && high >= 4) this.#drawCold(left, y, wide, high);
      if (isMarked) {
        context.strokeStyle = colours.ink;
        context.lineWidth = 1.5;
        context.stroke();
      }
      this.bars.push({ left, top, right: left + wide, bottom: top + laneHeight, event });
    }
  }

  /** The mark of a cold start: the bar's beginning in the colour of starting. */
  #drawCold(left, y, wide, high) {
    const { context, colours } = this;
    context.save();
    context.clip();
    context.fillStyle = colours.starting;
    context.fillRect(left, y, Math.min(3.5, wide * 0.5), high);
    context.restore();
    context.beginPath();
    context.roundRect(left, y, wide, high, Math.min(3, high / 2, wide / 2));
  }

  #barAt(x, y) {
    // The last one lies on top.
    const bar = this.bars.findLast(
      ({ left, right, top, bottom }) => x >= left - 2 && x <= right + 2 && y >= top && y < bottom,
    );
    return bar?.event ?? null;
  }
}

/** Where each lane begins; those of a function are together. */
function place(lanes, laneHeight) {
  const placeOf = new Map();
  let [top, groupTop, previous] = [0, 0, null];
  for (const { number, function: name } of lanes) {
    if (previous !== null && name !== previous) {
      top = Math.max(top, groupTop + MIN_GROUP_HEIGHT) + GROUP_GAP;
      groupTop = top;
    }
    placeOf.set(number, top);
    previous = name;
    top += laneHeight;
  }
  return { placeOf, end: Math.max(top, groupTop + MIN_GROUP_HEIGHT) };
}

function gapOf(laneHeight) {
  if (laneHeight > 8) return 2;
  return laneHeight > 5 ? 1 : 0.5;
}

/** The length of a window that shows what went on without a long pause until `last`. */
function latestBurst(state, last) {
  let from = last;
  const { events } = state;
  for (let index = events.length - 1; index >= 0; index--) {
    const event = events[index];
    if (from - (event.end ?? last) > PAUSE && from !== last) break;
    from = Math.min(from, event.start);
    const environment = event.isCold && state.environments.get(event.environment);
    if (environment) from = Math.min(from, environment.started);
    if (last - from > MAX_WINDOW) break;
  }
  for (const { started, state: word } of state.environments.values()) {
    if (word === "starting") from = Math.min(from, started);
  }
  return Math.max(MIN_WINDOW, Math.min(MAX_WINDOW, (last - from) * 1.04));
}

/** The next of 1, 2, 5, 10, … milliseconds, and above a second of what clocks are divided by. */
function axisStep(least) {
  for (const step of [1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000]) {
    if (least > 500 && step >= least) return step;
  }
  let scale = 1;
  while (scale * 5 < least) scale *= 10;
  return DOTS.map((factor) => factor * scale).find((step) => step >= least) ?? scale * 10;
}

function clock(time, step) {
  const date = new Date(time);
  const two = (number) => String(number).padStart(2, "0");
  const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (step >= 1000) return text;
  const digits = step >= 100 ? 1 : step >= 10 ? 2 : 3;
  return text.slice(3) + (date.getMilliseconds() / 1000).toFixed(3).slice(1, 2 + digits);
}

/** The style sheet says what looks how; here its words are read once. */
function readColours(canvas) {
  const style = getComputedStyle(canvas);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  const error = read("error");
  return {
    ink: read("ink"),
    faint: read("faint"),
    rule: read("rule"),
    accent: read("accent"),
    life: read("lane"),
    ice: read("lane-ice"),
    starting: read("starting"),
    running: read("running"),
    success: read("busy"),
    error,
    timeout: read("timeout"),
    crash: read("crash"),
    lost: read("crash"),
    "init-failed": error,
    font: `12px ${read("sans")}`,
    smallFont: `10.5px ${read("sans")}`,
  };
}
