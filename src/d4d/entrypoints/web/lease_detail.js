// One lease, with all that the server said, its timers and its history; the fragment names it.

import { get } from "./api.js";
import { byId, el, mark, reconcile, write } from "./dom.js";
import { eventItem } from "./events.js";
import { site } from "./state.js";
import { clock, duration, now, until } from "./time.js";
import { nameOf, stateOf } from "./labels.js";

const view = { lease: null, history: null, trouble: null, back: null };

const sheet = () => byId("lease");

/** Follow the fragment: `#lease=ADDRESS&pool=POOL` shows a lease. */
export function startLease() {
  addEventListener("hashchange", showFragment);
  sheet().addEventListener("close", () => {
    if (wanted()) history.replaceState(null, "", location.pathname + location.search);
    view.lease = null;
    view.back?.focus();
  });
  sheet().addEventListener("click", (event) => {
    if (event.target === sheet()) sheet().close(); // beside it
  });
}

function wanted() {
  const query = new URLSearchParams(location.hash.slice(1));
  return query.has("lease") ? { address: query.get("lease"), pool: query.get("pool") } : null;
}

/** Show the lease that the fragment names, or none. */
export async function showFragment() {
  const request = wanted();
  if (request === null) {
    if (sheet().open) sheet().close();
    return;
  }
  if (!sheet().open) {
    view.back = document.activeElement;
    sheet().replaceChildren(...frame());
    sheet().showModal();
  }
  await load(request);
}

/** Something happened to an address: if it is the one that is shown, ask for it anew. */
export function renewLease(address) {
  const request = wanted();
  if (sheet().open && request?.address === address) load(request);
}

async function load({ address, pool }) {
  const query = pool ? `?${new URLSearchParams({ pool })}` : "";
  const known = [...site.leases.values()].find(
    (lease) => lease.address === address && (!pool || lease.pool === pool));
  if (view.lease?.address !== address) Object.assign(view, { lease: known ?? null, history: null });
  view.trouble = null;
  try {
    const answer = await get(`api/leases/${encodeURIComponent(address)}${query}`);
    Object.assign(view, answer);
  } catch (error) {
    // A lease of another host's is in the store that they share, and its history with that host.
    view.lease = known ?? null;
    view.trouble = known ? `${known.host} keeps its history.` : error.message;
  }
  if (wanted()?.address === address) render(address);
}

function frame() {
  const close = el("button", {
    type: "button", class: "close", "aria-label": "Close", onclick: () => sheet().close(),
  }, "×");
  return [
    el("div", { class: "sheet-head" },
      el("div", {}, el("h2", { id: "lease-title" }), el("p", { class: "facts" })), close),
    el("div", { class: "sheet-body", tabindex: "0", role: "region", "aria-label": "Details" }),
  ];
}

function render(address) {
  const [head, body] = sheet().children;
  const { lease, history: events, trouble } = view;
  write(head.querySelector("h2"), address);
  write(head.querySelector("p"), lease ? nameOf(lease) ?? "no name" : "");
  const parts = [];
  if (trouble) parts.push(el("p", { class: "note" }, trouble));
  if (lease) {
    parts.push(
      el("p", {}, el("span", { class: "state", "data-state": stateOf(lease) }, stateOf(lease))),
      ...timers(lease),
      el("h3", {}, "The server said"), said(lease.terms),
      el("h3", {}, "The lease"), ours(lease));
  }
  if (events) {
    const list = el("ol", { class: "timeline" });
    reconcile(list, events, { key: (event) => `${event.at} ${event.kind}`, make: eventItem });
    parts.push(el("h3", {}, "History of the address"),
      events.length ? list : el("p", { class: "empty" }, "None is kept."));
  }
  body.replaceChildren(...parts);
  tickLease();
}

function timers(lease) {
  if (lease.expires_at === null) return [el("p", { class: "facts" }, "It has no end.")];
  const from = Date.parse(lease.bound_at ?? lease.acquired_at);
  const to = Date.parse(lease.expires_at);
  const at = (instant) => `${(100 * (Date.parse(instant) - from)) / (to - from)}%`;
  const line = el("div", { class: "span", "aria-hidden": "true" }, el("i", { class: "gone" }));
  for (const instant of [lease.renew_at, lease.rebind_at]) {
    if (instant === null || to <= from) continue;
    const tick = el("i", { class: "tick" });
    tick.style.insetInlineStart = at(instant);
    line.append(tick);
  }
  Object.assign(line.dataset, { from, to });
  const timer = (title, instant) => el("div", {}, el("dt", {}, title), el("dd", {},
    el("time", { datetime: instant ?? false, "data-until": instant ?? "" }),
    el("small", {}, instant ? clock(instant) : "")));
  return [line, el("dl", { class: "timers" },
    timer("Renews (T1)", lease.renew_at),
    timer("Rebinds (T2)", lease.rebind_at),
    timer("Expires", lease.expires_at))];
}

/** Let the timers go on. */
export function tickLease() {
  if (!sheet().open) return;
  for (const time of sheet().querySelectorAll("[data-until]")) {
    write(time, until(time.dataset.until || null));
  }
  const line = sheet().querySelector(".span");
  if (line === null) return;
  const { from, to } = line.dataset;
  const gone = to > from ? (now() - from) / (to - from) : 1;
  line.firstChild.style.inlineSize = `${100 * Math.min(1, Math.max(0, gone))}%`;
  mark(line, "data-state", view.lease && stateOf(view.lease));
}

const seconds = (value) => (value === null ? "for ever" : `${duration(value)} (${value} s)`);

function said(terms) {
  if (terms === null) return el("p", { class: "facts" }, "Nothing yet: no server has confirmed it.");
  return pairs([
    ["Server", terms.server],
    ["Lease time", seconds(terms.lease_time)],
    ["Renewal time", terms.renewal_time === null ? null : seconds(terms.renewal_time)],
    ["Rebinding time", terms.rebinding_time === null ? null : seconds(terms.rebinding_time)],
    ["Subnet mask", terms.subnet_mask],
    ["Routers", terms.routers.join(", ")],
    ["DNS servers", terms.dns_servers.join(", ")],
    ["NTP servers", terms.ntp_servers.join(", ")],
    ["Domain", terms.domain],
    ["MTU", terms.mtu],
    ["Static routes", terms.static_routes.map(([to, via]) => `${to} via ${via}`).join(", ")],
  ]);
}

function ours(lease) {
  return pairs([
    ["Name", lease.name],
    ["Hostname (option 12)", lease.hostname],
    ["MAC", lease.mac],
    ["Client id (option 61)", lease.client_id],
    ["Host", lease.host],
    ["Pool", lease.pool],
    ["Acquired", clock(lease.acquired_at)],
    ["Confirmed", lease.bound_at && clock(lease.bound_at)],
    ["Released", lease.released_at && clock(lease.released_at)],
    ["Generation", lease.generation],
  ]);
}

function pairs(rows) {
  const known = rows.filter(([, value]) => value !== null && value !== "" && value !== undefined);
  return el("dl", { class: "pairs" }, ...known.map(([title, value]) =>
    el("div", {}, el("dt", {}, title), el("dd", {}, String(value)))));
}
