/** SwiftShader, a Vulkan device on the CPU, and a Vulkan loader: both come with a development dependency. */
import { createReadStream, createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
import { extract } from "tar-stream";

/** The libraries are for Linux on x64. */
export const HAS_SOFTWARE_VULKAN = process.platform === "linux" && process.arch === "x64";

const ARCHIVE = new URL("../../node_modules/@sparticuz/chromium/bin/swiftshader.tar.br", import.meta.url);

export interface SoftwareVulkan {
  /** What a process must be started with to find this device and no other. */
  readonly environment: Readonly<Record<string, string>>;
  remove(): Promise<void>;
}

/** Unpacks the device into a temporary folder. */
export async function unpackSoftwareVulkan(): Promise<SoftwareVulkan> {
  const folder = await mkdtemp(path.join(tmpdir(), "toklip-vulkan-"));
  const entries = extract();
  const unpacked = (async () => {
    for await (const entry of entries) {
      const target = path.join(folder, path.basename(entry.header.name));
      if (entry.header.type === "file") await pipeline(entry, createWriteStream(target));
      else entry.resume();
    }
  })();
  await pipeline(createReadStream(ARCHIVE), createBrotliDecompress(), entries);
  await unpacked;
  const driver = path.join(folder, "vk_swiftshader_icd.json");
  return {
    environment: { VK_ICD_FILENAMES: driver, VK_DRIVER_FILES: driver, LD_LIBRARY_PATH: folder },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
