"""The body's model rewritten by Envoy itself, for the day when the picker does not answer.

The picker writes the name that the engine knows into each body that it answers (`ext_proc.core.alias`). A request that
comes here without its decision gets the same from a small Lua script: a scan of the JSON text that knows strings and
brackets and replaces the string value of each `model` at the top level. Every other byte stays as it was.

Which name to write is in the metadata of the request's route, so that an edit of the policy changes no listener. Rules
for any model would each repeat the names of all models: they ask for the table that stands once in the route
configuration, in a script that is the same but for it.
"""

from collections.abc import Mapping

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.names import DECISION_KEY, KVPILOT_NAMESPACE, LB_NAMESPACE, MODEL_KEY
from control_plane.compile.typed import Json, any_of, extension

LUA_FILTER = "envoy.filters.http.lua"
_LUA = "envoy.extensions.filters.http.lua.v3"

SCRIPT = "model-rewrite"
"""The script's name in the filter, by which routes ask for it."""

MAX_REWRITTEN_BYTES = 4 * 1024 * 1024
"""A longer body goes on as it is: reading it would keep one of Envoy's workers for tens of milliseconds."""

MAX_STEPS = 400_000
"""Strings, escapes and brackets that are looked at; a body that has more goes on with what was replaced so far."""

_SOURCE = f"""\
local every = {{}}
-- Replaces the string value of each top-level "model". Steps from one quote or bracket to the next.
local function rewritten(body, name)
  local out, copied, depth, position = {{}}, 1, 0, 1
  local value_at = nil
  for _ = 1, {MAX_STEPS} do
    local at = string.find(body, '["{{}}%[%]]', position)
    if at == nil then break end
    local found = string.byte(body, at)
    if found ~= 34 then
      depth = depth + ((found == 123 or found == 91) and 1 or -1)
      position = at + 1
    else
      local stop = at
      repeat
        stop = string.find(body, '["\\\\]', stop + 1)
        if stop == nil then return nil end
        local is_escape = string.byte(body, stop) == 92
        if is_escape then stop = stop + 1 end
      until not is_escape
      position = stop + 1
      if depth == 1 then
        if value_at == at then
          out[#out + 1] = string.sub(body, copied, at) .. name
          copied = stop
        else
          local _, colon = string.find(body, '^[ \\t\\r\\n]*:[ \\t\\r\\n]*', position)
          local is_model = colon ~= nil and stop - at == 6 and string.sub(body, at + 1, stop - 1) == "model"
          value_at = is_model and colon + 1 or nil
        end
      end
    end
  end
  if copied == 1 then return nil end
  out[#out + 1] = string.sub(body, copied)
  return table.concat(out)
end

function envoy_on_request(handle)
  local notes = handle:streamInfo():dynamicMetadata()
  local picked = notes:get("{LB_NAMESPACE}")
  if picked ~= nil and picked["{DECISION_KEY}"] ~= nil then return end
  local wanted = handle:metadata()
  local asked = (notes:get("{KVPILOT_NAMESPACE}") or {{}})["{MODEL_KEY}"]
  local name = wanted:get("model")
  if name == nil then
    local names = wanted:get("every") and every or wanted:get("names")
    name = names ~= nil and asked ~= nil and names[asked] or nil
  end
  if name == nil or name == asked then return end
  local body = handle:body()
  if body == nil then return end
  local length = body:length()
  if length == 0 or length > {MAX_REWRITTEN_BYTES} then return end
  local text = rewritten(body:getBytes(0, length), name)
  if text ~= nil then body:setBytes(text) end
end
"""


def rewrite_filter() -> Json:
    """The filter: it does nothing but on routes that ask for its script."""
    return extension(LUA_FILTER, f"{_LUA}.Lua", {"sourceCodes": {SCRIPT: {"inlineString": _SOURCE}}})


def names_for_all(names: Mapping[str, str], capabilities: Capabilities) -> Json:
    """The part of a route configuration that has the `names` of all models, for the routes that `rewrite_by_all` makes.

    All its other routes get this script, too, and it does nothing there.
    """
    if not names or not capabilities.has(Feature.FAIL_OPEN_REWRITE):
        return {}
    table = ", ".join(f'["{name}"] = "{engine}"' for name, engine in sorted(names.items()))
    source = _SOURCE.replace("local every = {}", f"local every = {{{table}}}", 1)
    script = any_of(f"{_LUA}.LuaPerRoute", {"sourceCode": {"inlineString": source}})
    return {"typedPerFilterConfig": {LUA_FILTER: script}}


def rewrite_by_all(capabilities: Capabilities) -> Json:
    """The part of a route for any model: what its configuration says for the body's model is written."""
    if not capabilities.has(Feature.FAIL_OPEN_REWRITE):
        return {}
    return {"metadata": {"filterMetadata": {LUA_FILTER: {"every": True}}}}


def rewrite_of(model: str, names: Mapping[str, str], capabilities: Capabilities) -> Json:
    """The part of a route that asks for the script: `model` is written into every body, or else what `names` says.

    Empty where there is nothing to write or the Envoy has no Lua.
    """
    if not (model or names) or not capabilities.has(Feature.FAIL_OPEN_REWRITE):
        return {}
    wanted: Json = {"model": model} if model else {"names": dict(sorted(names.items()))}
    return {
        "metadata": {"filterMetadata": {LUA_FILTER: wanted}},
        "typedPerFilterConfig": {LUA_FILTER: any_of(f"{_LUA}.LuaPerRoute", {"name": SCRIPT})},
    }
