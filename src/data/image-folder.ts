/**
 * Pictures in a folder and in the folders in it, with captions in files beside them: `cat.jpg`, and `cat.txt` with a caption
 * a line or `cat.json` with `caption` or `captions` and `concept`. Or the folders' names are the captions, as in data for
 * classification.
 */
import { type LongCallOptions, messageOf, ToklipError } from "../core/index.ts";
import type { DataFiles } from "./data-files.ts";
import type { Dataset } from "./dataset.ts";
import { type IndexedEntry, indexedDataset, type SampleList } from "./indexed-dataset.ts";
import { type Description, describePicture, SIDECARS } from "./sidecar.ts";

/** How a folder is read. */
export interface ImageFolderOptions extends LongCallOptions {
  /**
   * The name of the folder that a picture lies in, its underscores made spaces, is its concept where its own files name
   * none, and its caption where they have none. Pictures that lie in no folder within the folder get none. Default false.
   */
  readonly labelsFromFolders?: boolean | undefined;
}

/**
 * Lists the pictures below a folder, in the order of their paths; links are not followed. The names are held in memory, what
 * is in the files is read when a sample's turn comes.
 * @throws FILE_NOT_FOUND, FILE_READ_FAILED, ABORTED
 */
export async function openImageFolder(
  files: DataFiles,
  folder: string,
  options: ImageFolderOptions = {},
): Promise<Dataset> {
  const sidecars = new Set([...SIDECARS].map((extension) => `.${extension}`));
  const names = await files.list(folder, new Set([...files.pictureExtensions, ...sidecars]), options.signal);
  const pictures = names.filter((name) => !sidecars.has(splitExtension(name)[1].toLowerCase()));
  const beside = new Set(names.filter((name) => sidecars.has(splitExtension(name)[1])));
  return indexedDataset(new FolderSamples(files, folder, pictures, beside, options.labelsFromFolders ?? false));
}

class FolderSamples implements SampleList {
  readonly name: string;
  readonly size: number;
  private readonly files: DataFiles;
  private readonly folder: string;
  private readonly pictures: readonly string[];
  private readonly sidecars: ReadonlySet<string>;
  private readonly labelsFromFolders: boolean;

  constructor(
    files: DataFiles,
    folder: string,
    pictures: readonly string[],
    sidecars: ReadonlySet<string>,
    labelsFromFolders: boolean,
  ) {
    this.name = `folder ${folder}`;
    this.files = files;
    this.folder = folder;
    this.pictures = pictures;
    this.size = pictures.length;
    this.sidecars = sidecars;
    this.labelsFromFolders = labelsFromFolders;
  }

  async entry(index: number, signal?: AbortSignal): Promise<IndexedEntry> {
    const key = this.pictures[index]!;
    const path = this.files.resolve(this.folder, key);
    const described = await this.describe(key, signal);
    if (typeof described === "string") return { bad: { key, reason: "bad caption", message: described } };
    const label = this.labelsFromFolders ? folderLabel(key) : undefined;
    const concept = described.concept ?? label;
    const captions = described.captions.length > 0 || label === undefined ? described.captions : [label];
    return {
      sample: {
        key,
        image: (imageSignal) => this.files.read(path, imageSignal),
        version: () => this.files.stamp(path),
        captions,
        ...(concept !== undefined && { concept }),
      },
    };
  }

  /** What the files beside a picture say, or what is wrong with them. */
  private async describe(key: string, signal: AbortSignal | undefined): Promise<Description | string> {
    const [stem] = splitExtension(key);
    const found = new Map<string, Uint8Array>();
    for (const extension of SIDECARS) {
      const name = `${stem}.${extension}`;
      if (!this.sidecars.has(name)) continue;
      found.set(extension, await this.files.read(this.files.resolve(this.folder, name), signal));
    }
    try {
      return describePicture(found, true);
    } catch (thrown) {
      if (thrown instanceof ToklipError && thrown.code === "FILE_CORRUPT") return `${key}: ${messageOf(thrown)}`;
      throw thrown;
    }
  }
}

/** A name without its extension, and this with its dot. */
function splitExtension(name: string): [stem: string, extension: string] {
  const dot = name.lastIndexOf(".");
  return dot > name.lastIndexOf("/") ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
}

function folderLabel(name: string): string | undefined {
  return name.split("/").at(-2)?.replaceAll("_", " ");
}
