// A WebSocket that comes back: it reconnects with growing, jittered pauses, and says what it is doing.

const FIRST_PAUSE = 500; // ms
const LONGEST_PAUSE = 10_000;
const REFUSED = 4400; // the server says: do not try this again

export class LiveSocket {
  // onMessage(message) gets what the server sends. onState(state, seconds) gets "connecting", "open", "waiting" (with the
  // seconds until the next attempt), "refused" or "closed".
  constructor(path, onMessage, onState = () => {}) {
    this.url = new URL(path, location.href.replace(/^http/, "ws"));
    this.onMessage = onMessage;
    this.onState = onState;
    this.attempts = 0;
    this.retryNow = () => this.timer && this.connect();
    addEventListener("online", this.retryNow);
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = null;
    this.onState("connecting");
    const socket = (this.socket = new WebSocket(this.url));
    socket.onopen = () => this.onState("open");
    socket.onmessage = (event) => {
      this.attempts = 0; // a server that only accepts and closes does not count as well
      this.onMessage(JSON.parse(event.data));
    };
    socket.onclose = (event) => this.lost(event.code);
  }

  lost(code) {
    if (code === REFUSED) {
      this.onState("refused");
      return;
    }
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.attempts++) * (0.5 + Math.random() / 2);
    this.onState("waiting", pause / 1000);
    this.timer = setTimeout(() => this.connect(), pause);
  }

  // Whether the message could be handed to the connection.
  send(message) {
    const open = this.socket.readyState === WebSocket.OPEN;
    if (open) this.socket.send(JSON.stringify(message));
    return open;
  }

  close() {
    clearTimeout(this.timer);
    removeEventListener("online", this.retryNow);
    this.socket.onclose = this.socket.onmessage = this.socket.onopen = null;
    this.socket.close();
    this.onState("closed");
  }
}
