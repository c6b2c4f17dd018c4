// The lookout of a training over several processes: it notices when one of them is lost, says so, and tells the others.
// A process of its own, outside the launcher's process group: launchers kill the others the moment one dies, so that
// none of those can be relied upon to say what happened. Every process of the training holds a connection to it, and
// a connection that closes without a goodbye is a process that was lost. JavaScript, so that the same file starts from
// the sources and from the build. Its peer is mpi-watch.ts.
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { hostname } from "node:os";
import process from "node:process";

/** A line longer than this comes from no process of ours. */
const MAX_LINE = 2 ** 16;
/** How long it waits for the first process, and for the others to go when one was lost. */
const START_MS = 60_000;
const END_MS = 2_000;
/** A host that fell silent is asked whether it still stands after this time. */
const KEEP_ALIVE_MS = 10_000;

/** A bit of the flags in Linux's /proc/PID/stat: the process is about to end. */
const EXITING = 4;

/**
 * @typedef {object} Peer
 * @property {import("node:net").Socket} socket
 * @property {number} [rank]
 * @property {number} [pid] its process, if on this host
 * @property {number} [step]
 * @property {boolean} left whether it has said goodbye
 */

let orders = "";
for await (const chunk of process.stdin.setEncoding("utf8")) orders += chunk;
/** @type {{ host?: string, token: string }} */
const { host, token } = JSON.parse(orders);

/** @type {Set<Peer>} */
const peers = new Set();
/** @type {string | undefined} */
let checkpoint;
let lost = false;

/**
 * @param {Peer} peer
 * @param {any} message
 */
function receive(peer, message) {
  if (peer.rank === undefined) {
    if (message.token !== token) throw new Error("a stranger");
    peer.rank = message.rank;
    if (message.host === hostname()) peer.pid = message.pid;
    peers.add(peer);
    clearTimeout(start);
  }
  peer.step = message.step ?? peer.step;
  checkpoint = message.checkpoint ?? checkpoint;
  peer.left ||= message.goodbye === true;
}

/**
 * Whether a process has ended or is about to. Its connection closes late in its end: others may have noticed before,
 * by MPI or through the launcher, have ended because of it, and be the first whose connections close.
 * @param {Peer} peer
 */
function isEnding({ pid }) {
  if (pid === undefined || process.platform !== "linux") return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const flags = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[6]);
    return (flags & EXITING) !== 0;
  } catch {
    return true;
  }
}

/** @param {Peer} peer the first whose connection closed */
function report(peer) {
  lost = true;
  const ending = [...peers].filter((other) => !other.left && isEnding(other));
  const ranks = [peer, ...ending].map(({ rank }) => Number(rank)).sort((a, b) => a - b);
  const who = ranks.length === 1 ? `rank ${ranks[0]} was` : `ranks ${ranks.join(", ")} were`;
  const when = peer.step === undefined ? "before the first step" : `at step ${peer.step}`;
  const advice = checkpoint === undefined ? "there is no checkpoint yet: start again" : `resume from ${checkpoint}`;
  process.stderr.write(`toklip: ${who} lost ${when}; ${advice} [PEER_LOST]\n`);
  for (const { socket } of peers) socket.end("lost\n");
  setTimeout(() => process.exit(1), END_MS).unref();
}

/** @param {Peer} peer */
function depart(peer) {
  if (!peers.delete(peer)) return;
  if (!peer.left && !lost) report(peer);
  if (peers.size === 0) process.exit(lost ? 1 : 0);
}

/** @param {import("node:net").Socket} socket */
function attend(socket) {
  /** @type {Peer} */
  const peer = { socket, left: false };
  let text = "";
  socket.setKeepAlive(true, KEEP_ALIVE_MS).setEncoding("utf8");
  socket.on("data", (chunk) => {
    const lines = (text + chunk).split("\n");
    text = /** @type {string} */ (lines.pop());
    try {
      if (text.length > MAX_LINE) throw new Error("too long a line");
      for (const line of lines) receive(peer, JSON.parse(line));
    } catch {
      socket.destroy();
    }
  });
  socket.on("error", () => {}); // "close" follows
  socket.on("close", () => depart(peer));
}

// The launcher may be gone when there is something to say.
process.stderr.on("error", () => {});
const start = setTimeout(() => process.exit(1), START_MS);
const server = createServer(attend).listen({ host, port: 0 }, () => {
  process.stdout.end(`${/** @type {import("node:net").AddressInfo} */ (server.address()).port}\n`);
});
