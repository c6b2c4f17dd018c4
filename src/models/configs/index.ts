/** The configurations that come with the package. */

import toklipMini from "./toklip-mini.json" with { type: "json" };
import siglip256 from "./ViT-SO400M-16-SigLIP2-256.json" with { type: "json" };
import toklip256 from "./ViT-SO400M-16-SigLIP2-256-toklip.json" with { type: "json" };
import siglip384 from "./ViT-SO400M-16-SigLIP2-384.json" with { type: "json" };
import toklip384 from "./ViT-SO400M-16-SigLIP2-384-toklip.json" with { type: "json" };

/** The built-in configurations, as parsed JSON, by name. */
export const BUILT_IN_CONFIGS: Readonly<Record<string, unknown>> = {
  "toklip-mini": toklipMini,
  "ViT-SO400M-16-SigLIP2-256-toklip": toklip256,
  "ViT-SO400M-16-SigLIP2-384-toklip": toklip384,
  "ViT-SO400M-16-SigLIP2-256": siglip256,
  "ViT-SO400M-16-SigLIP2-384": siglip384,
};
