// What the journal has told so far. Knows nothing of the document: entries in, plain objects out.

/** The events that are kept; the oldest go first. */
export const MAX_EVENTS = 2000;
/** The environments that are kept, for the timeline's sake; of those that have ended, the oldest go first. */
const MAX_ENVIRONMENTS = 500;
/** The log lines that are kept of one event, or of one environment outside of events. */
const MAX_LINES = 1000;
/** The texts that are kept, in UTF-16 units, so that 2,000 large events do not fill the browser's memory. */
const MAX_TEXT = 48 << 20;
/** How long an environment is shown after its end, in milliseconds. */
export const FADE_MS = 4000;

/** How an invocation can end, in words. */
export const STATUS_WORDS = {
  running: "running",
  success: "ok",
  error: "error",
  timeout: "timed out",
  crash: "crashed",
  throttled: "throttled",
  "init-failed": "Init failed",
  lost: "no report",
};

export class State {
  constructor() {
    this.clear();
    /** Server time minus browser time, in milliseconds. */
    this.clockOffset = 0;
    this.functions = [];
    this.examples = [];
    this.queues = [];
    this.frontUrl = null;
    this.awsUrl = null;
  }

  /** Forgets what the journal said; it will be read again from its beginning. */
  clear() {
    /** Number → environment, in the order of their start. */
    this.environments = new Map();
    /** Events, oldest first. */
    this.events = [];
    /** Request id → its latest event; retries share an id. */
    this.byRequest = new Map();
    /** Name of what is built → how it stands. */
    this.builds = new Map();
    /** Moments at which a function was replaced: `{ at, function, version }`. */
    this.deployments = [];
    this.notices = [];
    this.totals = { events: 0, cold: 0, failed: 0, throttled: 0, gone: 0 };
    this.textSize = 0;
    /** When something last happened, in server time. */
    this.lastActivity = 0;
    /** Counts changes, so that views know whether they are behind. */
    this.version = (this.version ?? 0) + 1;
  }

  /** The present moment in server time. */
  now() {
    return Date.now() + this.clockOffset;
  }

  /** Takes what the server says about itself, after the kept part of the journal. */
  greet(hello) {
    this.clockOffset = hello.now_ms - Date.now();
    this.functions = hello.functions;
    this.examples = hello.examples;
    this.queues = hello.queues;
    this.frontUrl = hello.front_url;
    this.awsUrl = hello.aws_url;
    // Those whose beginning the journal has dropped already.
    for (const status of hello.environments) {
      if (this.environments.has(status.number)) continue;
      const environment = this.#environment(status.number, status.started_at_ms);
      Object.assign(environment, { function: status.function, version: status.version, pid: status.pid });
      environment.state = status.state;
      environment.events = status.events;
      environment.running = status.state === "busy" ? 1 : 0;
    }
    this.version++;
  }

  /** Takes one entry of the journal. */
  apply(entry) {
    const take = this.#handlers[entry.kind];
    if (!take) return;
    take.call(this, entry, entry.at_ms);
    this.lastActivity = Math.max(this.lastActivity, entry.at_ms);
    this.version++;
  }

  /** Whether time itself changes the picture. */
  isActive() {
    for (const environment of this.environments.values()) {
      if (environment.state === "busy" || environment.state === "starting") return true;
    }
    return false;
  }

  /** The environments that are alive, or have gone just now. */
  present() {
    const now = this.now();
    return [...this.environments.values()].filter(({ gone }) => gone === null || now - gone < FADE_MS);
  }

  /** The median times of cold starts and of warm events, in milliseconds; `null` without any. */
  medians() {
    const done = this.events.filter(({ report }) => report);
    const cold = done.filter(({ report }) => report.init_ms !== null).map(({ report }) => report.init_ms);
    const warm = done.filter(({ report, isCold }) => !isCold && report.status === "success");
    return { init: median(cold), warm: median(warm.map(({ report }) => report.duration_ms)) };
  }

  #handlers = {
    deployed({ function: name, version }, at) {
      if (!this.functions.some((known) => known.name === name)) this.functions.push({ name });
      if (version > 1) {
        this.deployments.push({ at, function: name, version });
        this.deployments = this.deployments.slice(-50);
      }
    },

    "environment-started"({ environment: number, function: name, version, pid }, at) {
      const environment = this.#environment(number, at);
      Object.assign(environment, { function: name, version, pid });
    },

    "environment-ready"({ environment: number, init_ms: initMs }, at) {
      const environment = this.#environment(number, at);
      environment.initMs = initMs;
      environment.ready = at;
      if (environment.state === "starting") environment.state = "idle";
    },

    "init-failed"({ environment: number, status, error_type: errorType, init_ms: initMs, sequence }, at) {
      const environment = this.#environment(number, at);
      environment.initMs = initMs;
      environment.ready = at;
      // The event that waits for it has a report of its own.
      const source = status === "timeout" ? "Init took too long" : `Init: ${errorType}`;
      const event = this.#event({ key: sequence, at, function: environment.function, source, environment: number });
      event.status = "init-failed";
      event.start = at - initMs;
      event.end = at;
    },

    "environment-frozen"({ environment: number }, at) {
      const environment = this.#environment(number, at);
      environment.state = "frozen";
      environment.frozen.push({ from: at, to: null });
      if (environment.frozen.length > 500) environment.frozen.shift();
    },

    "environment-gone"({ environment: number, reason }, at) {
      const environment = this.#environment(number, at);
      thaw(environment, at);
      Object.assign(environment, { state: "gone", gone: at, reason });
      // The report, if there is one, comes afterwards.
      for (const event of environment.current)
        Object.assign(event, { status: "lost", end: at, changes: event.changes + 1 });
      environment.current = [];
      this.totals.gone++;
      this.#forgetGone();
    },

    "invocation-started"(entry, at) {
      const environment = this.#environment(entry.environment, at);
      thaw(environment, at);
      // One whose Init failed is gone when its event fails.
      if (environment.gone === null) environment.state = "busy";
      environment.running++;
      environment.events++;
      const event = this.#event({
        key: entry.sequence,
        at,
        function: entry.function,
        source: entry.source,
        environment: entry.environment,
      });
      event.requestId = entry.request_id;
      event.isCold = entry.is_cold;
      event.payload = this.#text(entry.payload, entry);
      environment.current.push(event);
      this.byRequest.set(entry.request_id, event);
      this.totals.events++;
      if (entry.is_cold) this.totals.cold++;
    },

    line({ environment: number, request_id: requestId, text }, at) {
      const owner = this.byRequest.get(requestId) ?? this.#environment(number, at);
      if (owner.lines.length < MAX_LINES) {
        owner.lines.push(text);
        this.textSize += text.length;
      } else {
        owner.omittedLines++;
      }
      owner.changes++;
    },

    "invocation-answered"(entry) {
      const event = this.byRequest.get(entry.request_id);
      if (!event) return;
      event.answer = this.#text(entry.answer, entry);
      event.isError = entry.is_error;
      event.answered = entry.at_ms;
      const status = /^\s*\{\s*"statusCode"\s*:\s*(\d{3})\b/.exec(entry.answer);
      event.httpStatus = entry.is_error || !status ? null : Number(status[1]);
      event.changes++;
    },

    "invocation-ended"(report, at) {
      const event = this.byRequest.get(report.request_id);
      if (!event || event.report) return;
      event.report = report;
      event.status = report.status;
      event.end = Math.max(event.start + report.duration_ms, event.start);
      event.changes++;
      if (report.status !== "success") this.totals.failed++;
      const environment = this.#environment(event.environment, at);
      environment.current = environment.current.filter((other) => other !== event);
      environment.running = Math.max(0, environment.running - 1);
      if (environment.state === "busy" && environment.running === 0) environment.state = "idle";
    },

    throttled({ function: name, source, sequence }, at) {
      const event = this.#event({ key: sequence, at, function: name, source, environment: null });
      event.status = "throttled";
      event.end = at;
      this.totals.throttled++;
    },

    building({ name }, at) {
      this.builds.set(name, { name, status: "building", at });
    },

    built({ name, duration_ms: durationMs }, at) {
      this.builds.set(name, { name, status: "built", durationMs, at });
    },

    "build-failed"({ name, message }, at) {
      this.builds.set(name, { name, status: "failed", message, at });
    },

    notice({ text }, at) {
      this.notices.push({ at, text });
      this.notices = this.notices.slice(-50);
    },
  };

  /** The environment of that number, made now if the journal has dropped its beginning. */
  #environment(number, at) {
    let environment = this.environments.get(number);
    if (!environment) {
      environment = {
        number,
        function: "",
        version: null,
        pid: null,
        state: "starting",
        started: at,
        ready: null,
        initMs: null,
        gone: null,
        reason: null,
        running: 0,
        events: 0,
        current: [],
        frozen: [],
        lines: [],
        omittedLines: 0,
        changes: 0,
      };
      this.environments.set(number, environment);
    }
    return environment;
  }

  #event({ key, at, function: name, source, environment }) {
    const event = {
      key,
      start: at,
      end: null,
      function: name,
      source,
      environment,
      requestId: null,
      status: "running",
      isCold: false,
      isError: false,
      httpStatus: null,
      payload: null,
      answer: null,
      answered: null,
      report: null,
      lines: [],
      omittedLines: 0,
      changes: 0,
    };
    this.events.push(event);
    while (this.events.length > MAX_EVENTS || (this.textSize > MAX_TEXT && this.events.length > 1)) {
      this.#forget(this.events.shift());
    }
    return event;
  }

  /** A payload or an answer. Long ones come cut, and can be asked for by their number. */
  #text(text, { sequence, is_cut: isCut }) {
    this.textSize += text.length;
    return { text, isCut: Boolean(isCut), sequence };
  }

  #forget(event) {
    this.textSize -= (event.payload?.text.length ?? 0) + (event.answer?.text.length ?? 0);
    this.textSize -= event.lines.reduce((sum, line) => sum + line.length, 0);
    if (this.byRequest.get(event.requestId) === event) this.byRequest.delete(event.requestId);
  }

  #forgetGone() {
    let excess = this.environments.size - MAX_ENVIRONMENTS;
    if (excess <= 0) return;
    for (const environment of this.environments.values()) {
      if (environment.gone === null) continue;
      this.environments.delete(environment.number);
      if (--excess <= 0) return;
    }
  }
}

/** An environment that was frozen takes an event, or ends. */
function thaw(environment, at) {
  const last = environment.frozen.at(-1);
  if (last && last.to === null) last.to = at;
}

function median(values) {
  if (values.length === 0) return null;
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[sorted.length >> 1];
}
