/** `toklip/files`: checkpoints of every format, and the pickles, zip archives and arrays they are made of. */
export * from "./atomic-sink.ts";
export { type Checkpoint, readTensor, streamTensor, type TensorEntry, tensorBytes } from "./checkpoint.ts";
export { crc32c } from "./crc32c.ts";
export { openNpy, readNpy, writeNpy } from "./npy.ts";
export { openCheckpoint } from "./open.ts";
export {
  PickleGlobal,
  PickleObject,
  type PickleOptions,
  type Reducer,
  type ReducerTable,
  readPickle,
} from "./pickle.ts";
export { plainTree } from "./pickle-plain.ts";
export { openSafetensors } from "./safetensors.ts";
export * from "./safetensors-shards.ts";
export { type TensorData, type TensorSpec, writeSafetensors } from "./safetensors-writer.ts";
export { type Json, type JsonObject, parseJson } from "./strict-json.ts";
export { readTar, type TarEntry, type TarOptions, TruncatedTar } from "./tar.ts";
export * from "./tfevents.ts";
export { openTorch, type TorchOptions } from "./torch.ts";
export type { WeightsChoice } from "./torch-layout.ts";
export { locateZipEntry, readZipDirectory, type ZipEntry } from "./zip.ts";
