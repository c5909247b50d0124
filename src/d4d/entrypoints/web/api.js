// The driver's API, with the token where it wants one.

import { setClock } from "./time.js";

const KEY = "d4d-token";

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export const token = () => sessionStorage.getItem(KEY);
export const keepToken = (text) => sessionStorage.setItem(KEY, text);
export const forgetToken = () => sessionStorage.removeItem(KEY);

/** Ask for a path. Raises Refused where the driver says no, TypeError where nobody answers. */
export async function ask(path, { signal, anyStatus = false } = {}) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  const response = await fetch(path, { headers, signal, cache: "no-store" });
  setClock(response.headers.get("date"));
  if (!response.ok && !(anyStatus && response.status === 503)) {
    throw new Refused(response.status, await reason(response));
  }
  return response;
}

/** The JSON of an answer. */
export const get = async (path, options) => (await ask(path, options)).json();

/** The JSON of an answer, with all pages of its list `name`. */
export async function getAll(path, name) {
  const [plain, query] = path.split("?");
  const params = new URLSearchParams(query);
  const items = [];
  for (;;) {
    const answer = await get(`${plain}?${params}`);
    items.push(...answer[name]);
    if (!answer.next) return { ...answer, [name]: items };
    params.set("after", answer.next);
  }
}

async function reason(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the driver answered ${response.status}`;
  }
}
