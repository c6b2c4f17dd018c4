/**
 * What the results of frozen parts depend on, as plain JSON: equal exactly when cached results may be used. Of what is
 * trained, and of the weights of the losses, nothing is in it, so that runs that differ in these alone share results.
 * The weights are in it by a fingerprint, see `weightsPrint`.
 */
import type { JsonValue } from "../data/dataset.ts";
import { vqOf, weightsPrint } from "../models/index.ts";
import { wantedFeatures } from "./toklip-objective.ts";
import type { GivenParts } from "./towers-trainer.ts";

/** What frozen parts make. */
export type FrozenResult = "ids" | "teacherFeatures" | "teacherTokens" | "textFeatures";

/** What each result that is wanted depends on. */
export type FrozenIdentities = { readonly [R in FrozenResult]?: JsonValue };

/** Changes when the same parts would give other results in a new version of this project. */
const VERSION = 2;

/**
 * The identities of the results that the losses of a run want, and of the ids.
 * @param engine what the parts run on, and how: whatever may change a rounding
 * @throws CHECKPOINT_MISMATCH, FILE_CORRUPT, FILE_READ_FAILED
 */
export async function frozenIdentities(
  parts: GivenParts,
  engine: { readonly [name: string]: JsonValue },
): Promise<FrozenIdentities> {
  const { model, frozenCheckpoints: checkpoints = parts.checkpoints, teacher } = parts;
  const wanted = wantedFeatures(parts.weights);
  const common = { version: VERSION, engine };
  const taught = (wanted.teacher || wanted.teacherTokens) &&
    teacher && {
      ...common,
      trunk: plain(teacher.config.trunk),
      weights: await weightsPrint("pixel_encoder", teacher.config, [teacher.checkpoint]),
    };
  return {
    ids: {
      ...common,
      image_size: model.trunk.imageSize,
      vq: plain(vqOf(model)),
      weights: await weightsPrint("vq_encoder", model, checkpoints),
    },
    ...(taught && wanted.teacher && { teacherFeatures: taught }),
    ...(taught && wanted.teacherTokens && { teacherTokens: taught }),
    ...(wanted.text && {
      textFeatures: {
        ...common,
        text: plain(model.text),
        weights: await weightsPrint("text_encoder", model, checkpoints),
      },
    }),
  };
}

function plain(value: unknown): JsonValue {
  return JSON.parse(JSON.stringify(value ?? null)) as JsonValue;
}
