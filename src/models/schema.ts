/** What the schemas of all configurations share. */
import { z } from "zod";

/** A size: whole, positive, and small enough that products of a few stay exact. */
export const count = z
  .number()
  .int()
  .positive()
  .max(1 << 20);
