// The operator's page: it reads the driver's API and changes nothing.

import { forgetToken, keepToken, Refused, token } from "./api.js";
import { byId, write } from "./dom.js";
import { addEvent, loadEvents, startEvents } from "./events.js";
import { renewLease, showFragment, startLease, tickLease } from "./lease_detail.js";
import { hrefOf, renderLeases, showState, startLeases, tickLeases } from "./leases_table.js";
import { renderMap, shown, toggleMap } from "./address_map.js";
import { renderPools } from "./pools.js";
import { renderSidebar, tickSidebar } from "./sidebar.js";
import { site, Updates } from "./state.js";
import { follow } from "./event_stream.js";
import { clock, now } from "./time.js";

const TICK = 1000;

const updates = new Updates({ onchange: changed, onerror: failed });
let answered = null; // when the driver answered last
let following = false;
let chose = false; // a pool for the map, once there is one

function changed() {
  if (!chose && site.pools.length) {
    chose = true;
    toggleMap(site.pools[0].id);
  }
  answered = now();
  byId("trouble").hidden = true;
  byId("token").hidden = true;
  byId("forget").hidden = !token();
  if (byId("content").hidden) {
    byId("content").hidden = false;
    showFragment();
  }
  render();
  if (!following) {
    following = true;
    follow({ onstate, onevent }).then(() => {
      following = false;
    });
  }
}

function render() {
  renderSidebar(showState);
  renderPools(shown.pool, (id) => {
    toggleMap(id);
    render();
  });
  renderMap((lease) => {
    location.hash = hrefOf(lease);
  }, render);
  renderLeases();
}

function failed(error) {
  if (error.status === 401) {
    askForToken(token() ? "That is not the token of this driver." : "");
    return;
  }
  const since = answered === null ? "" : ` What is shown is from ${clock(answered)}.`;
  const why = error instanceof Refused ? error.message : "The driver does not answer.";
  write(byId("trouble"), `${why}${since}`);
  byId("trouble").hidden = false;
}

// Events

function onstate(state, error) {
  connection(state);
  if (state === "live") {
    updates.whole();
    loadEvents().catch(failed);
  } else if (error?.status === 401) {
    failed(error);
  }
}

function connection(state) {
  const labels = { live: "Live", away: "Reconnecting", locked: "Needs a token" };
  byId("connection").dataset.state = state;
  write(byId("connection"), labels[state]);
}

function onevent(event) {
  addEvent(event);
  updates.after(event);
  renewLease(event.address);
}

// Token

function askForToken(error) {
  if (!byId("token").hidden && !token()) return; // it is being typed
  forgetToken();
  connection("locked");
  byId("trouble").hidden = true;
  byId("content").hidden = true;
  byId("forget").hidden = true;
  byId("token").hidden = false;
  write(byId("token-error"), error);
  byId("token-field").value = "";
  byId("token-field").focus();
}

function start() {
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(byId("token-field").value.trim());
    updates.whole();
  });
  byId("forget").addEventListener("click", () => {
    forgetToken();
    location.reload();
  });
  startEvents();
  startLease();
  startLeases((key) => {
    location.hash = hrefOf(site.leases.get(key));
  });
  updates.start();
  updates.whole();
  setInterval(() => {
    if (document.hidden || byId("content").hidden) return;
    tickLeases();
    tickLease();
    tickSidebar();
  }, TICK);
}

// The first look may come while the driver starts: it is tried until it is answered.
setInterval(() => {
  if (answered === null && byId("token").hidden) updates.whole();
}, 2 * TICK);

start();
