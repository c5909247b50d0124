// Events as they happen. EventSource can't send a token, so its format is read from a fetch.

import { ask } from "./api.js";

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15000;
const SILENCE = 40000; // the driver says every 15 s that it lives

/**
 * Follow the events for ever. `onstate` hears of "live" and of "away" with the error; `onevent` of
 * each event. A refused token ends it.
 */
export async function follow({ onstate, onevent }) {
  let pause = FIRST_PAUSE;
  for (;;) {
    let failure = null;
    try {
      await once(onevent, () => {
        pause = FIRST_PAUSE;
        onstate("live");
      });
    } catch (error) {
      failure = error;
    }
    onstate("away", failure);
    if (failure?.status === 401) return;
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }
}

async function once(onevent, onopen) {
  const abort = new AbortController();
  let watch = setTimeout(() => abort.abort(), SILENCE);
  try {
    const response = await ask("api/events", { signal: abort.signal });
    onopen();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort(), SILENCE);
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const line = part.split("\n").find((each) => each.startsWith("data: "));
        if (line) onevent(JSON.parse(line.slice(6)));
      }
    }
  } finally {
    clearTimeout(watch);
  }
}
