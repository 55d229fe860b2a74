// Killing processes: the supervisor starts another one in the place of each.

import { post } from "./api.js";

export async function kill(name) {
  await post(`/api/processes/${encodeURIComponent(name)}/kill`, {});
}
