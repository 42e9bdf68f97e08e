// The live page: asks live.json once a second while it is looked at, and draws what it says.
"use strict";

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;
const SHOWN = 8; // happenings and refusals
const COUNTED = { dead_letter: ["dead letter", "dead letters"], duplicate: ["duplicate", "duplicates"] };
const APART = 6; // pixels between the marks of two publications
const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
let marks = { drifts: [], publishes: [] };
let charts = [];

function counted(count, outcome) {
  const [one, several] = COUNTED[outcome] ?? Array(2).fill(outcome.replaceAll("_", " "));
  return `${number.format(count)} ${count === 1 ? one : several}`;
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

function ago(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
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

function makeChart(id, label, name, value, range) {
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
  return { chart, figure, name };
}

function makeCharts() {
  for (const { chart } of charts) chart.destroy();
  const nonNegative = (_, low, high) => [0, high > 0 ? high * 1.05 : 1];
  charts = [
    makeChart("accuracy-chart", "accuracy", "accuracy", (tick) => `${Math.round(100 * tick)} %`, () => [0, 1]),
    makeChart("loss-chart", "loss", "loss", (tick) => String(tick), nonNegative),
  ];
}

function list(id, items, write) {
  byId(id).replaceChildren(...items.map((item) => {
    const line = element("li");
    line.append(element("time", when(item.at)), write(item));
    return line;
  }));
}

function rows(id, entries, most) {
  byId(id).tBodies[0].replaceChildren(...entries.map(([name, count]) => {
    const row = element("tr");
    const bar = element("td", "", { className: "bar" });
    if (most) bar.append(element("meter", "", { max: most, value: count, ariaLabel: name }));
    row.append(element("th", name, { scope: "row" }), bar, element("td", number.format(count)));
    return row;
  }));
}

// The experts, each left out one with since when and why; they are hidden while there is no mixture.
function showExperts(experts) {
  byId("mixture").hidden = !experts.length;
  const most = Math.max(...experts.map(({ weight }) => weight), 1e-9);
  byId("experts").tBodies[0].replaceChildren(...experts.map(({ name, weight, loss, reason, since }) => {
    const row = element("tr");
    const head = element("th", name.replaceAll("_", " "), { scope: "row" });
    const bar = element("td", "", { className: "bar" });
    if (reason) head.append(element("small", `left out since ${when(since)}: ${reason.replaceAll("_", " ")}`));
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

function show(view) {
  const { course, latest, counts, lag, buffer, snapshot } = view;
  const lags = Object.entries(lag);
  say("source", `topic ${view.topic}, group ${view.group}`);
  showState(view.state);
  say("accuracy", latest && latest.accuracy !== null ? percent(latest.accuracy) : "–"); // a language model has none
  say("loss", latest ? latest.loss.toFixed(3) : "–");
  say("lag", lags.length ? number.format(lags.reduce((sum, [, records]) => sum + records, 0)) : "–");
  const behind = lags.filter(([, records]) => records > 0).sort(([, one], [, other]) => other - one).slice(0, 4);
  const shown = behind.map(([partition, records]) => `${partition}: ${number.format(records)}`).join(", ");
  say("partitions", shown || (lags.length === 1 ? "1 partition" : `${lags.length} partitions`));
  say("trained", number.format(counts.trained ?? 0));
  const others = Object.entries(counts).filter(([outcome, count]) => outcome !== "trained" && count);
  say("counts", others.map(([outcome, count]) => counted(count, outcome)).join(", "));
  say("snapshot", snapshot ? `v${snapshot.version}` : "none yet");
  say("published", snapshot ? `published ${ago(view.now - snapshot.at)}` : "");
  say("version", `streamlearn ${view.streamlearn}`);

  marks = { drifts: view.drifts, publishes: view.publishes };
  for (const { chart, name } of charts) chart.setData([course.events, course[name]]);

  const happenings = [
    ...view.drifts.map((mark) => ({ ...mark, text: `drift: the ${mark.detector} has risen` })),
    ...view.publishes.map((mark) => ({ ...mark, text: `snapshot v${mark.version} published` })),
  ].sort((one, other) => other.at - one.at).slice(0, SHOWN);
  list("happenings", happenings, (mark) => `${mark.text} at event ${number.format(mark.events ?? 0)}`);
  showExperts(view.experts);
  say("fill", `${number.format(buffer.records)} of ${number.format(buffer.capacity)}`);
  rows("labels", buffer.labels, Math.max(...buffer.labels.map(([, held]) => held), 1));
  rows("reasons", Object.entries(view.dead_letters.reasons));
  list("refusals", view.dead_letters.last.slice(-SHOWN).reverse(), (refusal) => refusal.reason);
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
}).observe(byId("accuracy-chart"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { makeCharts(); look(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
keepLooking();
