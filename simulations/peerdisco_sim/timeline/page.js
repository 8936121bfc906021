"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const LEFT = 92, RIGHT = 12, AXIS = 34, FAULT = 13, LANE = 46, OTHER = 26, INVARIANTS = 30;
  const MESSAGES_MAX = 1500, ZOOM = 1.6, WINDOW_MIN = 0.002;
  const [AT, NODE, KIND, DETAIL] = [0, 1, 2, 3];

  const picture = document.getElementById("picture");
  const byId = (id) => document.getElementById(id);
  const names = data.lanes.map((lane) => lane.name);

  /** Gives each fault a row in which nothing else happens meanwhile; how many rows it takes. */
  function stackFaults() {
    const free = [];
    for (const fault of data.faults) {
      const found = free.findIndex((until) => until <= fault.at);
      fault.row = found < 0 ? free.length : found;
      free[fault.row] = Math.max(fault.until, fault.at + data.end / 80);
    }
    return free.length;
  }

  // -- lanes: faults above, one for each node, the clients and the world, invariants below --------

  const faultRows = stackFaults();
  const lanes = [{ name: "Faults", height: 10 + FAULT * Math.max(2, faultRows) }];
  for (const name of names) lanes.push({ name, height: LANE });
  lanes.push({ name: "Others", height: OTHER }, { name: "Invariants", height: INVARIANTS });
  let top = AXIS;
  for (const lane of lanes) { lane.top = top; top += lane.height; }
  const HEIGHT = top + 4;
  const LAST = lanes.length - 1;

  const laneOf = (event) => {
    if (event[KIND] === "violation") return LAST;
    if (event[KIND].startsWith("fault")) return 0;
    return event[NODE] >= 0 ? event[NODE] + 1 : LAST - 1;
  };
  const events = data.events.map((event, index) => ({ event, index, lane: laneOf(event) }));

  const end = Math.max(data.end, 0.001);
  let [from, to] = [0, end];
  let chosen = -1, lane = -1, messages = false, kind = "";
  const first = data.violations.length ? data.violations[0] : null;

  // -- drawing --------------------------------------------------------------------------------------

  const width = () => picture.clientWidth || 1000;
  const x = (at) => LEFT + ((at - from) / (to - from)) * (width() - LEFT - RIGHT);
  const timeAt = (px) => from + ((px - LEFT) / (width() - LEFT - RIGHT)) * (to - from);
  const middle = (index) => lanes[index].top + lanes[index].height / 2;

  function add(tag, attributes, text, parent = picture) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  function bar(began, ended, y, height, name, hint) {
    if (ended < from || began > to) return null;
    const left = Math.max(x(began), LEFT), right = Math.min(x(ended), width() - RIGHT);
    const box = add("rect", { x: left, y, width: Math.max(right - left, 0.8), height, class: name });
    add("title", {}, hint, box);
    return { left, right };
  }

  function label(box, y, text) {
    if (box && box.right - box.left > text.length * 6 + 8) add("text", { x: box.left + 4, y, class: "inside" }, text);
  }

  function step() {
    const rough = ((to - from) * 90) / (width() - LEFT - RIGHT);
    const power = 10 ** Math.floor(Math.log10(rough));
    return power * [1, 2, 5, 10].find((factor) => power * factor >= rough);
  }

  function drawAxis() {
    const by = step(), digits = Math.max(0, -Math.floor(Math.log10(by)));
    for (let at = Math.ceil(from / by) * by; at <= to; at += by) {
      add("line", { x1: x(at), x2: x(at), y1: AXIS - 6, y2: HEIGHT - 4, class: "grid" });
      add("text", { x: x(at) + 3, y: 13, class: "quiet" }, `${at.toFixed(digits)} s`);
    }
    for (const [at, name] of data.phases) {
      if (at < from || at > to) continue;
      add("line", { x1: x(at), x2: x(at), y1: 16, y2: HEIGHT - 4, class: "phase-line" });
      add("text", { x: x(at) + 3, y: 27, class: "phase" }, name);
    }
  }

  function drawFaults() {
    for (const fault of data.faults) {
      const y = lanes[0].top + 5 + fault.row * FAULT;
      label(bar(fault.at, fault.until, y, FAULT - 2, "fault-bar", `${fault.at.toFixed(3)} s: ${fault.detail}`), y + 9, fault.kind);
      for (const name of fault.nodes) {
        const index = names.indexOf(name);
        if (index >= 0 && fault.at >= from && fault.at <= to) {
          add("rect", { x: x(fault.at) - 1, y: lanes[index + 1].top + 2, width: 2, height: LANE - 4, class: "fault" });
        }
      }
    }
  }

  function drawNode(node, top) {
    for (const [began, ended, what] of node.states) {
      const name = `state ${what.split(" ")[0]}`;
      const box = bar(began, ended, top + 6, 16, name, `${node.name} ${what}, ${began.toFixed(2)} to ${ended.toFixed(2)} s`);
      if (box && what !== "up") label(box, top + 18, what);
      if (box && what === "paused") {
        for (let at = box.left; at < box.right; at += 6) add("line", { x1: at, x2: Math.min(at + 6, box.right), y1: top + 22, y2: top + 6, class: "hatch" });
      }
    }
    node.roles.forEach(([began, ended, what]) => {
      label(bar(began, ended, top + 25, 5, "role", `${node.name} ${what}`), top + 18, what);
    });
    for (const [began, ended, what] of node.tasks) bar(began, ended, top + 33, 5, "task", `${node.name} runs ${what}`);
  }

  function drawMessages() {
    const shown = data.messages.filter(([at, , , what]) => at >= from && at <= to && (!kind || what.split(" ")[0] === kind));
    if (!messages) return "";
    if (shown.length > MESSAGES_MAX) return `${shown.length} messages here: zoom in to see them`;
    for (const [at, source, target, what, size] of shown) {
      const line = add("line", { x1: x(at), x2: x(at) + 5, y1: middle(source + 1), y2: middle(target + 1), class: "message" });
      add("title", {}, `${at.toFixed(4)} s ${names[source]} to ${names[target]}: ${what} (${size} bytes)`, line);
    }
    return `${shown.length} messages`;
  }

  function drawMarks() {
    for (const { event, index, lane: row } of events) {
      if (event[AT] < from || event[AT] > to) continue;
      const cx = x(event[AT]);
      if (row === LAST) {
        const y = lanes[row].top + 6;
        add("title", {}, event[DETAIL], add("path", { d: `M${cx} ${y}l8 14h-16z`, class: "violation" }));
      } else if (row > 0 && event[KIND] !== "ready") {
        const cy = row === LAST - 1 ? middle(row) : lanes[row].top + 6;
        add("title", {}, `${event[KIND]}: ${event[DETAIL]}`, add("circle", { cx, cy, r: 2.5, class: `mark ${event[KIND].split(" ")[0]}` }));
      }
      if (index === chosen) add("circle", { cx, cy: middle(row), r: 9, class: "chosen" });
    }
  }

  function draw() {
    picture.replaceChildren();
    picture.setAttribute("viewBox", `0 0 ${width()} ${HEIGHT}`);
    picture.setAttribute("height", HEIGHT);
    drawAxis();
    drawFaults();
    data.lanes.forEach((node, index) => drawNode(node, lanes[index + 1].top));
    lanes.forEach(({ name, top, height }, index) => {
      add("line", { x1: 0, x2: width(), y1: top, y2: top, class: "border" });
      add("text", { x: 8, y: top + height / 2 + 4 }, (index === lane ? "\u25b8 " : "") + name);
    });
    const note = drawMessages();
    drawMarks();
    if (first && first.at >= from && first.at <= to) {
      add("line", { x1: x(first.at), x2: x(first.at), y1: AXIS, y2: HEIGHT - 4, class: "violation-line" });
    }
    if (chosen >= 0) {
      const at = x(events[chosen].event[AT]);
      if (at >= LEFT && at <= width() - RIGHT) add("line", { x1: at, x2: at, y1: AXIS, y2: HEIGHT - 4, class: "cursor" });
    }
    byId("window").textContent = `${from.toFixed(3)} to ${to.toFixed(3)} s${note ? " · " + note : ""}`;
  }

  // -- moving ---------------------------------------------------------------------------------------

  function show(begin, finish) {
    const span = Math.min(end, Math.max(WINDOW_MIN, finish - begin));
    from = Math.min(Math.max(0, begin), end - span);
    to = from + span;
    draw();
  }

  function zoom(factor, around) {
    const at = around ?? (chosen >= 0 ? events[chosen].event[AT] : (from + to) / 2);
    const centre = at >= from && at <= to ? at : (from + to) / 2;
    show(centre - (centre - from) / factor, centre + (to - centre) / factor);
  }

  function stateAt(node, at) {
    const now = (spans) => spans.filter(([began, ended]) => began <= at && (at < ended || ended >= end)).map(([, , what]) => what);
    const parts = [...now(node.states), ...now(node.roles)];
    const tasks = now(node.tasks).length;
    if (tasks) parts.push(`${tasks} task${tasks > 1 ? "s" : ""}`);
    return `${node.name}: ${parts.join(", ") || "not there"}`;
  }

  function choose(index, follow = true) {
    if (index < 0 || index >= events.length) return;
    chosen = index;
    const { event } = events[index];
    if (event[AT] < from || event[AT] > to) show(event[AT] - (to - from) / 2, event[AT] + (to - from) / 2);
    else draw();
    const who = event[NODE] >= 0 ? ` ${names[event[NODE]]}` : "";
    const states = data.lanes.map((node) => stateAt(node, event[AT])).join("  |  ");
    byId("now").textContent = `${event[AT].toFixed(4)} s${who}, ${event[KIND]}: ${event[DETAIL]}\n${states}`;
    if (follow) markRow(index);
  }

  function move(by) {
    const found = events.filter((each) => lane < 0 || each.lane === lane);
    if (!found.length) return;
    const place = found.findIndex((each) => each.index >= chosen);
    let next = place < 0 ? found.length : place;
    if (by > 0 && found[next]?.index === chosen) next += 1;
    if (by < 0) next -= 1;
    choose(found[Math.min(found.length - 1, Math.max(0, next))].index);
  }

  function changeLane(by) {
    lane = Math.min(LAST, Math.max(-1, lane + by));
    const at = chosen >= 0 ? events[chosen].event[AT] : from;
    const found = events.filter((each) => lane < 0 || each.lane === lane);
    if (found.length) choose(found.reduce((best, each) => (Math.abs(each.event[AT] - at) < Math.abs(best.event[AT] - at) ? each : best)).index);
    else { draw(); byId("now").textContent = `${lanes[lane].name}: no events`; }
  }

  function toViolation() {
    if (!first) return;
    show(first.at - 2, first.at + 1);
    const index = events.findIndex((each) => each.event[KIND] === "violation");
    if (index >= 0) choose(index);
    else byId("now").textContent = `${first.at.toFixed(4)} s ${first.node} ${first.name}: ${first.detail}`;
  }

  function setMessages(on) {
    messages = on;
    byId("show-messages").checked = on;
    byId("kinds").disabled = !on;
    draw();
  }

  const shift = (share) => show(from + (to - from) * share, to + (to - from) * share);
  const actions = { in: () => zoom(ZOOM), out: () => zoom(1 / ZOOM), all: () => show(0, end), violation: toViolation };
  const keys = {
    "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.all, v: toViolation,
    m: () => setMessages(!messages),
    ArrowLeft: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => changeLane(-1), ArrowDown: () => changeLane(1),
    Home: () => { chosen = -1; move(1); }, End: () => { chosen = events.length; move(-1); },
  };

  picture.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const sideways = { ArrowLeft: -0.25, ArrowRight: 0.25 }[event.key];
    const action = event.shiftKey && sideways ? () => shift(sideways) : keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  document.querySelectorAll("button[data-do]").forEach((button) => button.addEventListener("click", () => actions[button.dataset.do]()));
  byId("show-messages").addEventListener("change", (event) => setMessages(event.target.checked));
  byId("kinds").addEventListener("change", (event) => { kind = event.target.value; draw(); });
  picture.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    if (event.shiftKey) shift(Math.sign(event.deltaY || event.deltaX) * 0.15);
    else zoom(event.deltaY < 0 ? ZOOM : 1 / ZOOM, timeAt(event.offsetX));
  }, { passive: false });

  let drag = null;
  picture.addEventListener("pointerdown", (event) => { drag = { px: event.offsetX, from, to, moved: false }; });
  picture.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const by = ((event.offsetX - drag.px) / (width() - LEFT - RIGHT)) * (drag.to - drag.from);
    if (!drag.moved && Math.abs(event.offsetX - drag.px) < 4) return;
    if (!drag.moved) { drag.moved = true; picture.setPointerCapture(event.pointerId); picture.classList.add("dragging"); }
    show(drag.from - by, drag.to - by);
  });
  picture.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) pick(event.offsetX, event.offsetY);
    drag = null;
    picture.classList.remove("dragging");
  });
  picture.addEventListener("pointercancel", () => { drag = null; picture.classList.remove("dragging"); });

  function pick(px, py) {
    const row = lanes.findIndex((each) => py >= each.top && py < each.top + each.height);
    const near = events.filter((each) => each.lane === row && Math.abs(x(each.event[AT]) - px) < 12);
    if (near.length) choose(near.reduce((a, b) => (Math.abs(x(b.event[AT]) - px) < Math.abs(x(a.event[AT]) - px) ? b : a)).index);
  }

  // -- the table ------------------------------------------------------------------------------------

  const rows = [...byId("rows").rows];
  function markRow(index) {
    byId("rows").querySelector(".current")?.classList.remove("current");
    const row = rows[index];
    if (!row) return;
    row.classList.add("current");
    const box = row.closest(".scroll");
    if (row.offsetTop < box.scrollTop + 30 || row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = row.offsetTop - box.clientHeight / 2;
  }
  byId("rows").addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !getSelection().toString()) { choose(Number(row.dataset.event), false); markRow(Number(row.dataset.event)); }
  });
  byId("words").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase();
    let count = 0;
    for (const row of rows) { row.hidden = !row.textContent.toLowerCase().includes(words); count += !row.hidden; }
    byId("count").textContent = `${count} of ${rows.length}`;
  });

  // -- beginning ------------------------------------------------------------------------------------

  for (const name of [...new Set(data.messages.map((message) => message[3].split(" ")[0]))].sort()) byId("kinds").append(new Option(name, name));
  byId("chart").hidden = byId("filter").hidden = false;
  document.querySelector('[data-do="violation"]').hidden = !first;
  new ResizeObserver(draw).observe(picture.parentElement);
  if (location.hash === "#violation") toViolation();
  else draw();
})();
