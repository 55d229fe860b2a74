// Requests to this server. An answer that says no becomes an Error with the server's words.

export async function get(path) {
  return answerOf(await reach(path));
}

export async function post(path, body) {
  const headers = { "content-type": "application/json" };
  return answerOf(await reach(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error("Not sent: the server does not answer.");
  }
}

async function answerOf(response) {
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const detail = answer?.detail ?? response.statusText;
  throw new Error(typeof detail === "string" ? detail : detail.map((each) => each.msg).join("; "));
}
