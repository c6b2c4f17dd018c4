import { describe, expect, test } from "vitest";
import { resolveTemplates, TEMPLATE_SETS } from "../../src/text/templates.ts";

describe("prompt templates", () => {
  test("each set has templates with one place for the label, none twice", () => {
    for (const [name, templates] of Object.entries(TEMPLATE_SETS)) {
      expect(new Set(templates).size, name).toBe(templates.length);
      for (const template of templates) expect(template.split("{}"), template).toHaveLength(2);
    }
    expect(TEMPLATE_SETS["imagenet-80"]).toHaveLength(80);
  });
  test("are found by name or taken as given", () => {
    expect(resolveTemplates("none")).toEqual(["{}"]);
    expect(resolveTemplates(["an icon of {}"])).toEqual(["an icon of {}"]);
  });
  test("that cannot work are refused", () => {
    expect(() => resolveTemplates("nope")).toThrowErrorMatchingInlineSnapshot(
      `[ToklipError: templates "nope": expected a set (none, simple, imagenet-80) or a list of templates [ARGUMENT_INVALID]]`,
    );
    expect(() => resolveTemplates("__proto__")).toThrow(expect.objectContaining({ code: "ARGUMENT_INVALID" }));
    expect(() => resolveTemplates([])).toThrowErrorMatchingInlineSnapshot(
      `[ToklipError: templates: none given [ARGUMENT_INVALID]]`,
    );
    expect(() => resolveTemplates(["a cat"])).toThrowErrorMatchingInlineSnapshot(
      `[ToklipError: template "a cat" has no {} for the label [ARGUMENT_INVALID]]`,
    );
  });
});
