/**
 * How a process of a training learns that another was lost, without MPI, whose calls then fail or wait for ever: each
 * holds a connection to the lookout (mpi-lookout.mjs), which rank 0 starts.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { hostname } from "node:os";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { messageOf, ToklipError } from "../core/index.ts";
import type { Milestone } from "../train/communicator.ts";

const CONNECT_MS = 30_000;
const KEEP_ALIVE_MS = 10_000;

/** Where the lookout is, and the secret that tells it who belongs to this training. */
export interface LookoutAddress {
  readonly host: string;
  readonly port: number;
  readonly token: string;
}

/**
 * Starts the lookout, which ends by itself when the last process has gone.
 * @param oneHost whether all processes run on this host, so that no other needs to reach it
 * @throws RUNTIME_FAILED
 */
export async function startLookout(oneHost: boolean): Promise<LookoutAddress> {
  const token = randomBytes(16).toString("hex");
  // Without an environment, it is no process of the launcher's; detached, the launcher's signals do not reach it.
  const lookout = spawn(process.execPath, [fileURLToPath(new URL("./mpi-lookout.mjs", import.meta.url))], {
    detached: true,
    env: {},
    stdio: ["pipe", "pipe", "inherit"],
  });
  lookout.stdin.end(JSON.stringify({ token, ...(oneHost && { host: "127.0.0.1" }) }));
  const ended = once(lookout, "exit").then(() => {
    throw new ToklipError("RUNTIME_FAILED", "the process that notices lost ranks could not be started");
  });
  const [port] = await Promise.race([once(lookout.stdout, "data"), ended]);
  ended.catch(() => {}); // Nobody waits for it any more.
  lookout.stdout.destroy();
  lookout.unref();
  return { host: oneHost ? "127.0.0.1" : hostname(), port: Number(port), token };
}

/** This process's connection to the lookout. It does not keep the process alive. */
export class Watch {
  private readonly socket: Socket;
  private left = false;

  private constructor(socket: Socket) {
    this.socket = socket;
  }

  /**
   * Connects.
   * @param onLost called once if another process, or the lookout, was lost: `told` is whether the lookout has said so
   * @throws PEER_LOST if the lookout cannot be reached
   */
  static async begin(
    { host, port, token }: LookoutAddress,
    rank: number,
    onLost: (told: boolean) => void,
  ): Promise<Watch> {
    const socket = connect(port, host);
    try {
      await once(socket, "connect", { signal: AbortSignal.timeout(CONNECT_MS) });
    } catch (error) {
      socket.destroy();
      const reason = `rank ${rank} cannot reach rank 0's host at ${host}:${port}: ${messageOf(error)}`;
      throw new ToklipError("PEER_LOST", reason, { cause: error });
    }
    const watch = new Watch(socket);
    socket.setKeepAlive(true, KEEP_ALIVE_MS).setNoDelay(true).unref();
    socket.on("error", () => {}); // "close" follows
    socket.once("data", () => onLost(true));
    socket.once("close", () => watch.left || onLost(false));
    watch.send({ token, rank, host: hostname(), pid: process.pid });
    return watch;
  }

  /** Says how far this process is. */
  mark({ step, checkpoint }: Milestone): void {
    this.send({ step, checkpoint });
  }

  /** Says goodbye. */
  async leave(): Promise<void> {
    this.left = true;
    this.socket.ref();
    const closed = once(this.socket, "close");
    this.send({ goodbye: true });
    this.socket.end();
    await closed;
  }

  private send(message: Record<string, unknown>): void {
    this.socket.write(`${JSON.stringify(message)}\n`);
  }
}
