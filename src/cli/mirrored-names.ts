/**
 * Names for the pictures made from other pictures: the folders below the inputs' common folder are mirrored below the
 * output folder, so `a/x.jpg` and `b/x.jpg` become `out/a/x.png` and `out/b/x.png`, and one folder's pictures lie in `out`
 * itself. Names may come from a file of ids, which is untrusted: nothing leaves the output folder.
 */
import path from "node:path";
import { ToklipError } from "../core/index.ts";

/** The deepest folder that holds all of these folders, absolute. */
export function commonFolder(folders: Iterable<string>): string {
  let common: string | undefined;
  for (const folder of folders) {
    const full = path.resolve(folder);
    common ??= full;
    while (!isWithin(full, common)) common = path.dirname(common);
  }
  return common ?? path.resolve(".");
}

function isWithin(folder: string, above: string): boolean {
  return folder === above || folder.startsWith(above.endsWith(path.sep) ? above : above + path.sep);
}

/** Gives each source its output path, no two the same. */
export class MirroredNames {
  private readonly root: string;
  private readonly out: string;
  private readonly taken = new Set<string>();

  /**
   * @param root a folder above all sources, absolute
   * @throws ARGUMENT_INVALID when results would fall among the sources, and so upon them
   */
  constructor(root: string, out: string) {
    if (path.resolve(out) === root) {
      throw new ToklipError("ARGUMENT_INVALID", `${out}: is the pictures' own folder; choose another --out folder`);
    }
    this.root = root;
    this.out = out;
  }

  /**
   * The output path of a source, with extension `.png`. Where `x.jpg` and `x.png` lie side by side, the second keeps
   * its old extension too: `x.png.png`.
   */
  next(source: string): string {
    const { dir, name, base } = path.parse(path.relative(this.root, path.resolve(source)));
    for (let n = 1; ; n++) {
      const stem = n === 1 ? name : n === 2 ? base : `${name}-${n - 1}`;
      const candidate = path.join(this.out, dir, `${stem}.png`);
      if (this.taken.has(candidate)) continue;
      this.taken.add(candidate);
      return candidate;
    }
  }
}
