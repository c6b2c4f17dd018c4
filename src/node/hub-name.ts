/** Names of files on the Hugging Face hub: `owner/repo/path/in/repo`, and a revision. */
import { ToklipError } from "../core/index.ts";

/** A file of a model repository. */
export interface HubName {
  /** As the user wrote it. */
  readonly text: string;
  readonly owner: string;
  readonly repo: string;
  readonly path: string;
}

// The hub's own rule for owners and repositories. Two dashes would read as a separator in the cache's folder names.
const REPO_PART = /^(?!.*(?:--|\.\.))[A-Za-z0-9](?:[\w.-]{0,94}\w)?$/;
const REVISION = /^(?!.*\.\.)\w[\w.+-]*(?:\/\w[\w.+-]*)*$/;

/** Whether a text can be a hub name. A path such as `./a/b/c` or `/a/b/c` is none. */
export function isHubName(text: string): boolean {
  return splitHubName(text) !== undefined;
}

/** @throws ARGUMENT_INVALID when the text is no hub name, so that nothing outside the cache can be reached. */
export function parseHubName(text: string): HubName {
  const name = splitHubName(text);
  if (name) return name;
  throw new ToklipError("ARGUMENT_INVALID", `hub name ${JSON.stringify(text)}: expected owner/repo/path/in/repo`);
}

/** @throws ARGUMENT_INVALID when it is no branch, tag or commit. */
export function checkRevision(revision: string): string {
  if (REVISION.test(revision)) return revision;
  throw new ToklipError("ARGUMENT_INVALID", `revision ${JSON.stringify(revision)}: expected a branch, tag or commit`);
}

function splitHubName(text: string): HubName | undefined {
  const [owner = "", repo = "", ...path] = text.split("/");
  if (!REPO_PART.test(owner) || !REPO_PART.test(repo) || path.length === 0 || !path.every(isSafeSegment)) {
    return undefined;
  }
  return { text, owner, repo, path: path.join("/") };
}

function isSafeSegment(segment: string): boolean {
  return segment !== "" && segment !== "." && segment !== ".." && !/[\\:\x00-\x1f]/.test(segment);
}
