/** A hub on this machine: metadata and a redirect from one port, contents from another, faults to order. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const NAME = "owner/repo/models/big.pt";

export interface SeenRequest {
  readonly host: "hub" | "cdn";
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly token: string | undefined;
}

/** What a server does instead of its duty, once each, first to last. `cutAt`: the connection breaks at that byte. */
export type Fault = { readonly status: number } | { readonly cutAt: number } | { readonly ignoreRange: true } | "hang";

export class FakeHub {
  readonly seen: SeenRequest[] = [];
  readonly hubFaults: Fault[] = [];
  readonly cdnFaults: Fault[] = [];
  content: Buffer;
  etag: string;
  private readonly hub: Server;
  private readonly cdn: Server;

  private constructor(content: Buffer) {
    this.content = content;
    this.etag = createHash("sha256").update(content).digest("hex");
    this.hub = createServer((request, response) => this.answerHub(request, response));
    this.cdn = createServer((request, response) => this.answerCdn(request, response));
  }

  static async start(content: Buffer): Promise<FakeHub> {
    const fake = new FakeHub(content);
    for (const server of [fake.hub, fake.cdn]) await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return fake;
  }

  async stop(): Promise<void> {
    for (const server of [this.hub, this.cdn]) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  get endpoint(): string {
    return addressOf(this.hub);
  }

  /** Requests as "host method range", in order. */
  get log(): string[] {
    return this.seen.map(({ host, method, range }) => [host, method, range].filter(Boolean).join(" "));
  }

  private answerHub(request: IncomingMessage, response: ServerResponse): void {
    this.note("hub", request);
    const fault = this.hubFaults.shift();
    if (typeof fault === "object" && "status" in fault) return void response.writeHead(fault.status).end();
    if (!/^\/owner\/repo\/resolve\/(main|v1|[0-9a-f]{40})\/models\/big\.pt$/.test(request.url!)) {
      return void response.writeHead(404, { "x-error-code": "EntryNotFound" }).end();
    }
    response.writeHead(302, {
      location: `${addressOf(this.cdn)}/signed?secret=1`,
      "x-repo-commit": COMMIT,
      "x-linked-etag": `"${this.etag}"`,
      "x-linked-size": String(this.content.length),
    });
    response.end();
  }

  private answerCdn(request: IncomingMessage, response: ServerResponse): void {
    this.note("cdn", request);
    const fault = this.cdnFaults.shift();
    if (fault === "hang") return;
    if (fault && "status" in fault) return void response.writeHead(fault.status).end();
    const start =
      fault && "ignoreRange" in fault ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const rest = this.content.subarray(start);
    const total = this.content.length;
    response.writeHead(start > 0 ? 206 : 200, {
      "content-length": rest.length,
      etag: '"another-etag"',
      ...(start > 0 && { "content-range": `bytes ${start}-${total - 1}/${total}` }),
    });
    if (fault && "cutAt" in fault) {
      response.write(rest.subarray(0, fault.cutAt - start), () => setTimeout(() => response.destroy(), 20));
    } else {
      response.end(rest);
    }
  }

  private note(host: "hub" | "cdn", { method, url, headers }: IncomingMessage): void {
    this.seen.push({ host, method: method!, path: url!, range: headers.range, token: headers.authorization });
  }
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
