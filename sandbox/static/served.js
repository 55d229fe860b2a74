// Which process serves this page now. Whoever hears it from the server says so here.

export const served = {
  pid: null,
  process: "",
  watchers: [],

  // By the hello of a socket.
  by(hello) {
    Object.assign(this, { pid: hello.pid, process: hello.process });
    for (const watcher of this.watchers) watcher(hello);
  },

  watch(watcher) {
    this.watchers.push(watcher);
  },
};
