// The live page: asks live.json once a second while it is looked at, and draws what it says.
"use strict";

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;
const SHOWN = 8; // happenings and refusals
const COUNTED = {
  "other label": ["other label", "other labels"],
  duplicate: ["duplicate", "duplicates"],
  partition: ["partition", "partitions"],
};
const APART_FROM = ["trained", "dead_letter"]; // counts that have a card of their own
const APART = 6; // pixels between the marks of two publications
const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
let marks = { drifts: [], publishes: [] };
let charts = [];
let labelled = true;

function counted(count, thing) {
  const [one, several] = COUNTED[thing] ?? Array(2).fill(words(thing));
  return `${number.format(count)} ${count === 1 ? one : several}`;
}

function words(name) {
  return name.replaceAll("_", " ");
}

function say(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}

function element(name, text, properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text ?? "" }, properties);
}

function percent(ratio) {
  return `${(100 * ratio).toFixed(1)} %`;
}

function when(seconds) {
  return (Date.now() / 1000 - seconds < 43200 ? clock : day).format(new Date(1000 * seconds));
}

function span(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

// Vertical lines where a drift was detected or a snapshot published; where publications are crowded, not all of them.
function drawMarks(chart) {
  const { ctx, bbox } = chart;
  const kinds = [[marks.publishes, "publish", [], APART * devicePixelRatio], [marks.drifts, "drift", [6, 4], 0]];
  ctx.save();
  for (const [places, name, dash, apart] of kinds) {
    let before = -Infinity;
    ctx.strokeStyle = colour(name);
    ctx.lineWidth = Math.round(devicePixelRatio * 2); // even: no half-painted pixels
    ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
    for (const { events } of places) {
      if (events == null || events < chart.scales.x.min || events > chart.scales.x.max) continue;
      const x = Math.round(chart.valToPos(events, "x", true));
      if (x - before < apart) continue;
      before = x;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
  }
  ctx.restore();
}

function makeChart(id, label, name, key, value, range) {
  const figure = byId(id);
  const axis = { stroke: colour("faint"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
  const chart = new uPlot({
    width: figure.clientWidth,
    height: figure.clientHeight,
    legend: { show: false },
    cursor: { y: false },
    scales: { x: { time: false }, y: { range } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((tick) => number.format(tick)) },
      { ...axis, size: 56, values: (_, ticks) => ticks.map(value) },
    ],
    series: [{}, { label, stroke: colour(name), width: 2, points: { show: false } }],
    hooks: { drawAxes: [drawMarks] }, // behind the curve
  }, [[], []], figure);
  return { chart, figure, key };
}

function makeCharts() {
  for (const { chart } of charts) chart.destroy();
  charts = [];
  const nonNegative = (_, low, high) => [0, high > 0 ? high * 1.05 : 1];
  const figure = labelled
    ? ["accuracy", "accuracy", "figure", (tick) => `${Math.round(100 * tick)} %`, () => [0, 1]]
    : ["bits per byte", "accuracy", "figure", (tick) => String(tick), nonNegative];
  charts = [
    makeChart("figure-chart", ...figure),
    makeChart("loss-chart", "loss", "loss", "loss", (tick) => String(tick), nonNegative),
  ];
}

function list(id, items, write) {
  byId(id).replaceChildren(...items.map((item) => {
    const line = element("li");
    line.append(element("time", when(item.at)), write(item));
    return line;
  }));
}

function fill(id, entries) {
  const most = Math.max(...entries.map(([, count]) => count), 1);
  byId(id).tBodies[0].replaceChildren(...entries.map(([name, count]) => {
    const row = element("tr");
    const bar = element("td", "", { className: "bar" });
    bar.append(element("meter", "", { max: most, value: count, ariaLabel: name }));
    row.append(element("th", name, { scope: "row" }), bar, element("td", number.format(count)));
    return row;
  }));
}

// The confusion matrix: a row for each label, with how many of its events were found, and what the others were taken for.
function showPredictions(predictions) {
  byId("predictions").hidden = !predictions;
  if (!predictions) return;
  const { rows } = predictions;
  const names = rows.map(({ label, others }, index) => (others ? counted(others, "other label") : `${index + 1} ${label}`));
  const columns = rows[0].predicted.map((_, index) => (index < rows.length && !rows[index].others ? String(index + 1) : "other"));
  const head = element("tr");
  const titles = ["label", "events", "recall", ...columns.map((column) => (column === "other" ? "as other" : `as ${column}`))];
  head.append(...titles.map((title) => element("th", title, { scope: "col" })));
  byId("matrix").tHead.replaceChildren(head);
  byId("matrix").tBodies[0].replaceChildren(...rows.map(({ events, recall, predicted, others }, place) => {
    const row = element("tr");
    const cells = predicted.map((count, column) => {
      const right = column === place && !others;
      const cell = element("td", count ? number.format(count) : "·", { className: count ? "cell" : "none" });
      if (right) cell.classList.add("right");
      cell.style.setProperty("--share", events && (column !== place || right) ? 0.6 * count / events : 0);
      cell.style.setProperty("--shade", right ? "var(--publish)" : "var(--drift)");
      return cell;
    });
    row.append(
      element("th", names[place], { scope: "row", title: names[place] }),
      element("td", number.format(events)),
      element("td", recall === null ? "–" : percent(recall)),
      ...cells,
    );
    return row;
  }));
}

// The experts, each left out one with since when and why; they are hidden while there is no mixture.
function showExperts(experts) {
  byId("mixture").hidden = !experts.length;
  const most = Math.max(...experts.map(({ weight }) => weight), 1e-9);
  byId("experts").tBodies[0].replaceChildren(...experts.map(({ name, weight, loss, reason, since }) => {
    const row = element("tr");
    const head = element("th", words(name), { scope: "row" });
    const bar = element("td", "", { className: "bar" });
    if (reason) head.append(element("small", `left out since ${when(since)}: ${words(reason)}`));
    bar.append(element("meter", "", { max: most, value: Math.max(weight, 0), ariaLabel: name }));
    row.append(head, bar, element("td", reason ? "–" : weight.toFixed(2)), element("td", loss?.toFixed(3) ?? "–"));
    return row;
  }));
}

function showState(state) {
  say("state", state);
  byId("state").dataset.state = state;
  document.title = `${state} · streamlearn`;
}

// One line for each thing that is waited for; none while it learns.
function showWaits(waits, now) {
  byId("waits").replaceChildren(...waits.map(({ text, since }) => element("li", `${text} (for ${span(now - since)})`)));
}

function show(view) {
  const { course, latest, counts, lag, buffer, snapshot, dead_letters: letters } = view;
  if (labelled !== view.labelled) {
    labelled = view.labelled;
    makeCharts();
  }
  const lags = Object.entries(lag);
  say("source", `topic ${view.topic}, group ${view.group}`);
  showState(view.state);
  showWaits(view.waits, view.now);
  const figure = labelled ? latest.accuracy : latest.bits_per_byte;
  say("figure-name", labelled ? "accuracy" : "bits per byte");
  say("figure-title", `${labelled ? "Accuracy" : "Bits per byte"} over the events learnt`);
  say("figure", figure === null ? "–" : labelled ? percent(figure) : figure.toFixed(3));
  say("window", `of the last ${number.format(view.window)} events, each predicted before it was learnt`);
  say("loss", latest.loss === null ? "–" : latest.loss.toFixed(3));
  say("lag", lags.length ? number.format(lags.reduce((sum, [, records]) => sum + records, 0)) : "–");
  const behind = lags.filter(([, records]) => records > 0).sort(([, one], [, other]) => other - one);
  const by = behind.slice(0, 4).map(([partition, records]) => `${partition}: ${number.format(records)}`).join(", ");
  const whole = behind.length === 1 && lags.length > 1 ? `all of it in ${behind[0][0]}` : "";
  say("partitions", behind.length > 1 ? by : whole || (lags.length ? counted(lags.length, "partition") : ""));
  say("trained", number.format(counts.trained ?? 0));
  const others = Object.entries(counts).filter(([outcome, count]) => count && !APART_FROM.includes(outcome));
  say("counts", others.map(([outcome, count]) => counted(count, outcome)).join(", "));
  const reasons = Object.entries(letters.reasons).filter(([, count]) => count);
  say("refused", number.format(counts.dead_letter ?? 0));
  say("reasons", reasons.map(([reason, count]) => (reasons.length === 1 ? reason : `${number.format(count)} ${reason}`)).join(", "));
  say("snapshot", snapshot ? `v${snapshot.version}` : "none yet");
  say("published", snapshot ? `published ${span(view.now - snapshot.at)} ago` : "");
  say("version", `streamlearn ${view.streamlearn}`);

  marks = { drifts: view.drifts, publishes: view.publishes };
  for (const { chart, key } of charts) chart.setData([course.events, course[key]]);

  const happenings = [
    ...view.drifts.map((mark) => ({ ...mark, text: `drift: the ${mark.detector} has risen` })),
    ...view.publishes.map((mark) => ({ ...mark, text: `snapshot v${mark.version} published` })),
  ].sort((one, other) => other.at - one.at).slice(0, SHOWN);
  list("happenings", happenings, ({ text, events }) => (events === null ? text : `${text} at event ${number.format(events)}`));
  showPredictions(view.predictions);
  showExperts(view.experts);
  const held = `${labelled ? "by label, " : ""}${number.format(buffer.records)} of ${number.format(buffer.capacity)}`;
  say("fill", buffer.capacity ? held : ""); // a standby has none
  fill("labels", buffer.labels);
  list("refusals", letters.last.slice(-SHOWN).reverse(), ({ reason, detail, topic, partition, offset }) => {
    const text = element("span", detail ? `${reason}: ${detail} ` : `${reason} `);
    text.append(element("code", `${topic}/${partition}/${offset}`));
    return text;
  });
}

async function look() {
  try {
    const answer = await fetch("live.json", { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`the learner answers ${answer.status}`);
    show(await answer.json());
    byId("silence").hidden = true;
  } catch (error) {
    const silence = byId("silence");
    if (silence.hidden) silence.textContent = `No answer since ${clock.format(new Date())}: ${error.message}`;
    silence.hidden = false;
    showState("no answer");
  }
}

async function keepLooking() {
  if (!document.hidden) await look();
  setTimeout(keepLooking, EVERY_MS);
}

makeCharts();
new ResizeObserver(() => {
  for (const { chart, figure } of charts) chart.setSize({ width: figure.clientWidth, height: figure.clientHeight });
}).observe(byId("figure-chart"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { makeCharts(); look(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
keepLooking();
