// Events, the newest first: the last ones of the history, and those that happen now.

import { get } from "./api.js";
import { byId, el, reconcile, write } from "./dom.js";
import { clock } from "./time.js";
import { ALARMING, plural } from "./labels.js";

const MOST = 200;
const SEEN = 60;
const QUIET = 5000; // ms between two announcements

const view = { events: [], waiting: [], announcing: null };

/** Show renewals, or not. */
export function startEvents() {
  byId("renewals").addEventListener("change", renderEvents);
}

/** Take the last events from the history; what happened meanwhile may be in both. */
export async function loadEvents() {
  const answer = await get("api/history?limit=100");
  const all = [...view.events, ...answer.events];
  const byKey = new Map(all.map((event) => [keyOf(event), event]));
  view.events = [...byKey.values()];
  view.events.sort((one, other) => Date.parse(other.at) - Date.parse(one.at));
  view.events.length = Math.min(view.events.length, MOST);
  renderEvents();
}

/** An event that happened now. */
export function addEvent(event) {
  view.events.unshift(event);
  view.events.length = Math.min(view.events.length, MOST);
  if (ALARMING.has(event.kind)) announce(event);
  renderEvents();
}

const keyOf = ({ at, kind, address, pool }) => `${at} ${kind} ${address} ${pool}`;

function renderEvents() {
  const all = byId("renewals").checked;
  const shown = view.events.filter(({ kind }) => all || kind !== "renewed").slice(0, SEEN);
  reconcile(byId("event-list"), shown, { key: keyOf, make: eventItem });
  byId("event-none").hidden = shown.length > 0;
}

/** An event as an item of a list. */
export function eventItem(event) {
  const { at, kind, address, pool, name, mac, detail } = event;
  const href = `#${new URLSearchParams({ lease: address, pool })}`;
  return el("li", { "data-kind": kind },
    el("p", { class: "what" },
      el("b", { class: "kind" }, kind), " ", el("time", { datetime: at }, clock(at))),
    el("p", {}, el("a", { href }, address), " ",
      el("span", { class: "who" }, name ?? mac ?? "")),
    detail ? el("p", { class: "detail" }, detail) : null);
}

/** Say it to who listens rather than looks: only what may need somebody, and not each by itself. */
function announce(event) {
  view.waiting.push(event);
  view.announcing ??= setTimeout(say, 250);
}

function say() {
  const worst = view.waiting.find(({ kind }) => kind === "lost") ?? view.waiting[0];
  const others = view.waiting.length - 1;
  view.waiting = [];
  const also = others ? `, and ${plural(others, "more event")}` : "";
  write(byId("announcer"), `${worst.kind}: ${worst.address} ${worst.name ?? ""}${also}`);
  view.announcing = setTimeout(() => {
    view.announcing = null;
    if (view.waiting.length) say();
  }, QUIET);
}
