// A WebSocket that comes back: it reconnects with growing, jittered pauses, and says what it is doing.

const FIRST_PAUSE = 500; // ms
const LONGEST_PAUSE = 10_000;
const TOO_LONG = 15_000; // to connect: a server that accepts nobody is as good as none
const REFUSED = 4400; // the server says: do not try this again

export class LiveSocket {
  // onMessage(message) gets what the server sends. onState(state, seconds) gets "connecting", "open", "waiting" (with the
  // seconds until the next attempt), "refused" or "closed". The card, an element, shows the state as well.
  constructor(path, { onMessage, onState = () => {}, card }) {
    this.url = new URL(path, location.href.replace(/^http/, "ws"));
    this.onMessage = onMessage;
    this.onState = (state, seconds) => {
      if (card) card.dataset.state = state;
      onState(state, seconds);
    };
    this.attempts = 0;
    this.retryNow = () => this.timer && !this.isOpening && this.connect();
    addEventListener("online", this.retryNow);
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.isOpening = true;
    this.onState("connecting");
    const socket = (this.socket = new WebSocket(this.url));
    this.timer = setTimeout(() => socket.close(), TOO_LONG);
    socket.onopen = () => {
      clearTimeout(this.timer);
      this.isOpening = false;
      this.onState("open");
    };
    socket.onmessage = (event) => {
      this.attempts = 0; // a server that only accepts and closes does not count as well
      this.onMessage(JSON.parse(event.data));
    };
    socket.onclose = (event) => this.lost(event.code);
  }

  lost(code) {
    clearTimeout(this.timer);
    this.isOpening = false;
    if (code === REFUSED) {
      this.onState("refused");
      return;
    }
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.attempts++) * (0.5 + Math.random() / 2);
    this.onState("waiting", pause / 1000);
    this.timer = setTimeout(() => this.connect(), pause);
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  // Whether the message could be handed to the connection.
  send(message) {
    if (this.isOpen) this.socket.send(JSON.stringify(message));
    return this.isOpen;
  }

  close() {
    clearTimeout(this.timer);
    removeEventListener("online", this.retryNow);
    this.socket.onclose = this.socket.onmessage = this.socket.onopen = null;
    this.socket.close();
    this.onState("closed");
  }
}
