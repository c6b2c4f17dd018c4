/**
 * Where the hub is, where its cache is and who asks: the same environment variables and files as Python's
 * huggingface_hub, so that both share their downloads.
 * @see https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { ToklipError } from "../core/index.ts";

/** What a caller may say instead of the environment. */
export interface HubOptions {
  /** The hub's address. Default `HF_ENDPOINT`, then https://huggingface.co. */
  readonly endpoint?: string | undefined;
  /** An access token. Default `HF_TOKEN`, then the file that `hf auth login` writes. */
  readonly token?: string | undefined;
  /** The folder of the cache. Default `HF_HUB_CACHE`, `HF_HOME`/hub, ~/.cache/huggingface/hub. */
  readonly cacheDir?: string | undefined;
}

export interface HubSettings {
  readonly endpoint: URL;
  readonly token: string | undefined;
  readonly cacheDir: string;
  /** `HF_HUB_OFFLINE`: no request is made. */
  readonly offline: boolean;
}

const TRUE = new Set(["1", "ON", "YES", "TRUE"]);

/** @throws ARGUMENT_INVALID for an address that is no http(s) URL, or a token that no header can carry. */
export async function readHubSettings(options: HubOptions, env: NodeJS.ProcessEnv = process.env): Promise<HubSettings> {
  const home = folder(env.HF_HOME) ?? join(folder(env.XDG_CACHE_HOME) ?? join(homedir(), ".cache"), "huggingface");
  const given = options.token ?? (env.HF_TOKEN || undefined);
  const token = given ?? (await readToken(folder(env.HF_TOKEN_PATH) ?? join(home, "token")));
  if (token && !/^[\x21-\x7e]+$/.test(token.trim())) {
    throw new ToklipError("ARGUMENT_INVALID", "hub token: it has characters that no token has");
  }
  return {
    endpoint: parseEndpoint(options.endpoint || env.HF_ENDPOINT || "https://huggingface.co"),
    token: token?.trim() || undefined,
    cacheDir:
      folder(options.cacheDir) ?? folder(env.HF_HUB_CACHE) ?? folder(env.HUGGINGFACE_HUB_CACHE) ?? join(home, "hub"),
    offline: TRUE.has((env.HF_HUB_OFFLINE ?? "").toUpperCase()),
  };
}

/** An absolute path; ~ is the user's folder. Undefined for a variable that is not set, or empty. */
function folder(path: string | undefined): string | undefined {
  return path ? resolve(path.replace(/^~(?=$|[/\\])/, () => homedir())) : undefined;
}

/** The message does not repeat the address: it may hold a password. */
function parseEndpoint(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isWeb = url?.protocol === "https:" || url?.protocol === "http:";
  if (url && isWeb && url.username === "" && url.password === "") return url;
  throw new ToklipError("ARGUMENT_INVALID", "hub address: expected an http or https URL without a password");
}

/** The token in a file, or undefined: a public file needs none. */
function readToken(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(() => undefined);
}
