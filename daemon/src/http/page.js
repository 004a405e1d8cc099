"use strict";
// Every text from another node is set as text, never as markup.

const INTERVAL = 2000;
const HISTORY = 60;
const NEAR = 190;
const FAR = 275;
const MAX_FAR = 60;
const history = new Map();
let before = null;

const byId = (id) => document.getElementById(id);

function element(tag, text, className, namespace) {
  const made = namespace ? document.createElementNS(namespace, tag) : document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.setAttribute("class", className);
  return made;
}

const svg = (tag, attributes, text, className) => {
  const made = element(tag, text, className, "http://www.w3.org/2000/svg");
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};

const short = (address) => (address ? address.slice(0, 12) + "…" + address.slice(-4) : "–");

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return (unit ? count.toFixed(1) : Math.round(count)) + " " + units[unit];
}

function age(seconds) {
  const days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24, minutes = Math.floor(seconds / 60) % 60;
  if (days) return days + " d " + hours + " h";
  if (hours) return hours + " h " + minutes + " min";
  return minutes ? minutes + " min" : seconds + " s";
}

function remember(name, value) {
  const values = history.get(name) ?? [];
  values.push(value);
  if (values.length > HISTORY) values.shift();
  history.set(name, values);
  return values;
}

function tile(name, value, text) {
  const made = element("div", undefined, "tile");
  const values = remember(name, value), most = Math.max(...values, 1);
  const points = values.map((value, at) => at * (100 / (HISTORY - 1)) + "," + (24 - 22 * (value / most))).join(" ");
  const line = svg("svg", { viewBox: "0 0 100 26", preserveAspectRatio: "none", "aria-hidden": "true" });
  line.append(svg("polyline", { points }));
  made.append(element("b", text), element("span", name), line);
  return made;
}

function drawMap(state) {
  const names = new Map(), parts = [], dots = [];
  const place = (angle, radius) => [Math.cos(angle) * radius * 1.6, Math.sin(angle) * radius];
  const dot = (x, y, radius, className, label, far) => {
    dots.push(svg("circle", { cx: x, cy: y, r: radius }, undefined, className));
    dots.push(svg("text", { x, y: y + radius + 18 }, label, far ? "far" : undefined));
  };
  const peers = state.peers.filter((peer) => peer.address);
  const places = new Map();
  peers.forEach((peer, at) => {
    const angle = (2 * Math.PI * at) / Math.max(peers.length, 1);
    const [x, y] = place(angle, NEAR * 0.75);
    places.set(peer.address, angle);
    names.set(peer.address, peer.name);
    parts.push(svg("line", { x1: 0, y1: 0, x2: x, y2: y }, undefined, peer.state === "up" ? "near" : undefined));
    dot(x, y, 13, peer.state === "up" ? "near" : "down", peer.name ?? short(peer.address));
  });
  const far = state.routes.filter((route) => !places.has(route.destination)).slice(0, MAX_FAR);
  const behind = new Map();
  for (const route of far) behind.set(route.next_hop, [...(behind.get(route.next_hop) ?? []), route]);
  for (const [hop, routes] of behind) {
    const middle = places.get(hop);
    if (middle === undefined) continue;
    const width = Math.min(1.6, (2 * Math.PI) / Math.max(peers.length, 1) * 0.8);
    routes.forEach((route, at) => {
      const angle = middle + (routes.length > 1 ? width * (at / (routes.length - 1) - 0.5) : 0);
      const [x1, y1] = place(middle, NEAR * 0.75), [x, y] = place(angle, FAR * 0.9);
      parts.push(svg("line", { x1, y1, x2: x, y2: y }));
      dot(x, y, 7, undefined, routes.length > 12 ? "" : route.name ?? short(route.destination), true);
    });
  }
  dot(0, 0, 17, "self", state.status.name ?? "this node");
  byId("map").replaceChildren(...parts, ...dots);
}

function row(peer) {
  const made = element("tr");
  const rtt = peer.rtt_ms === null ? "–" : peer.rtt_ms.toFixed(2) + " ms";
  const loss = peer.loss === null ? "–" : Math.round(peer.loss * 100) + " %";
  const cells = [[peer.name ?? "–"], [short(peer.address), "mono"], [peer.endpoint, "mono"], [peer.state, peer.state], [rtt], [loss], [bytes(Number(peer.rx_bytes))], [bytes(Number(peer.tx_bytes))]];
  for (const [text, className] of cells) made.append(element("td", text, className));
  if (peer.last_error) made.title = peer.last_error;
  return made;
}

function show(state) {
  const { status } = state, now = performance.now();
  const sum = (field) => status.netmods.reduce((all, netmod) => all + Number(netmod[field]), 0);
  const counts = { now, rx: sum("rx_bytes"), tx: sum("tx_bytes") };
  const rate = (field) => (before ? Math.max(0, (counts[field] - before[field]) / ((now - before.now) / 1000)) : 0);
  byId("name").textContent = status.name ?? "";
  byId("address").textContent = status.address;
  byId("facts").textContent = "version " + status.version + ", up " + age(status.uptime_s) + ", mesh " + status.mesh;
  byId("health").replaceChildren(...status.health.map((health) => element("p", health.text + (health.hint ? " — " + health.hint : ""), health.level)));
  byId("tiles").replaceChildren(
    tile("neighbours", status.neighbours, status.neighbours),
    tile("routes", status.routes, status.routes),
    tile("received", rate("rx"), bytes(rate("rx")) + "/s"),
    tile("sent", rate("tx"), bytes(rate("tx")) + "/s"),
    tile("inbox", status.inbox.messages, status.inbox.messages),
    tile("outbox", status.outbox.messages, status.outbox.messages),
  );
  before = counts;
  drawMap(state);
  byId("peers").replaceChildren(...state.peers.map(row));
  const drops = Object.entries(status.drops).filter(([, count]) => Number(count) > 0);
  byId("drops").textContent = drops.length ? drops.map(([cause, count]) => cause + " " + count).join(", ") : "none";
}

async function poll() {
  try {
    const answer = await fetch("/state.json");
    if (!answer.ok) throw new Error("HTTP " + answer.status);
    show(await answer.json());
  } catch (error) {
    byId("health").replaceChildren(element("p", "no answer from roused: " + error.message, "error"));
  }
  setTimeout(poll, INTERVAL);
}

poll();
