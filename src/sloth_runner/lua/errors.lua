-- Why: an error keeps what it is and where it arose on its way through pcall, coroutines and the scheduler.
-- Chunk 1 of the prelude: gets the Python callbacks, returns the table of internals that later chunks extend.

local py = ...
local getinfo, getmeta, byte, sub, format, text = debug.getinfo, debug.getmetatable, string.byte, string.sub, string.format, string
local type, rawget, setmetatable, tostring, error, next, pcall = type, rawget, setmetatable, tostring, error, next, pcall
local concat = table.concat

local weak = { __mode = "k" }
local origins = setmetatable({}, weak) -- error object -> the Python exception it stands for
local finals = setmetatable({}, weak) -- error objects that no pcall of the user may swallow
local places = setmetatable({}, weak) -- error values (tables) -> where they were raised first
local ending = {} -- body -> the error it must end with
local core = { py = py, ending = ending, current = 0, source = "=[sloth]" }

-- The nearest line of a user's file on the stack: its chunk name and line.
local function site(level)
  while true do
    local info = getinfo(level, "Sl")
    if not info then return nil end
    if info.currentline > 0 and byte(info.source) == 64 then return info.source, info.currentline end
    level = level + 1
  end
end
core.site = site

-- The file that a function stands in, if it is a user's: asked for once, because describing a function is slow.
local files = setmetatable({}, weak)
local function file_of(fn)
  local source = getinfo(fn, "S").source
  local found = byte(source) == 64 and source
  files[fn] = found
  return found
end

-- The same, and the further lines of user files on the stack, as text: "LINE@FILE", one below the other.
function core.frames(level)
  local file, line, outer
  while true do
    local info = getinfo(level, "f")
    if not info then return file, line, outer end
    local found = files[info.func]
    if found == nil then found = file_of(info.func) end
    if found then
      local at = getinfo(level, "l").currentline
      if not file then
        file, line = found, at
      elseif at > 0 then
        outer = (outer and outer .. "\n" or "") .. at .. found
      end
    end
    level = level + 1
  end
end

-- An error object reads like the text of its message, so that code which expects text goes on working.
local ERROR = { __name = "error", __metatable = false }
function ERROR.__tostring(e)
  return tostring(rawget(e, "message"))
end
function ERROR.__concat(a, b)
  return tostring(a) .. tostring(b)
end
function ERROR.__index(_, key)
  local method = text[key]
  return method and function(e, ...)
    return method(tostring(e), ...)
  end
end

local function new_error(origin, code, message, final, cancelled)
  local file, line = site(2)
  local e = setmetatable({ code = code, message = message, file = file and sub(file, 2), line = line }, ERROR)
  if cancelled then e.cancelled = true end
  if origin ~= nil then origins[e] = origin end
  if final then
    finals[e] = true
    ending[core.current] = e
  end
  return e
end
core.new_error = new_error

local function is_error(e)
  return type(e) == "table" and getmeta(e) == ERROR
end
core.is_error = is_error
function core.is_final(e)
  return is_error(e) and finals[e] or false
end

-- Raise an error of the tree by its code; `help` is what to do next.
function core.fail(code, message, help)
  local e = new_error(nil, code, message)
  e.help = help
  error(e, 0)
end

-- What a guarded Python callback returned: true and values, or false and an error.
function core.trust(ok, ...)
  if ok then return ... end
  error(new_error(...), 0)
end

local RAISED = {}
local function is_raised(e)
  return type(e) == "table" and getmeta(e) == RAISED
end

-- Message handler: remembers where an error was raised, while the stack still stands.
function core.locate(e)
  if is_raised(e) then return e end
  local file, line = site(2)
  return setmetatable({ value = e, file = file, line = line }, RAISED)
end

-- The error value itself of what `locate` returned.
local function raised(e)
  if is_raised(e) then return e.value end
  return e
end
core.raised = raised

-- Raise again what xpcall(…, locate) caught, keeping the place where it was raised first.
function core.again(caught)
  local e = raised(caught)
  if type(e) == "table" and not is_error(e) and is_raised(caught) then places[e] = places[e] or caught end
  error(e, 0)
end

local function brief(value)
  if type(value) ~= "table" then return tostring(value) end
  local message = rawget(value, "message")
  if type(message) == "string" then return message end
  local meta = getmeta(value)
  if meta and meta.__tostring then
    local ok, shown = pcall(tostring, value)
    if ok then return shown end
  end
  local parts = {}
  for key, item in next, value do
    if #parts == 8 then
      parts[9] = "…"
      break
    end
    local shown = type(item) == "string" and format("%q", item) or type(item) == "table" and "{…}" or tostring(item)
    parts[#parts + 1] = type(key) == "string" and key .. " = " .. shown or shown
  end
  return "{" .. concat(parts, ", ") .. "}"
end

local function line_of(value)
  return math.type(value) == "integer" and value or nil
end

-- An error in scalars, as the end of a body: -1, origin, type, code, message, file, line, help.
function core.describe(caught)
  local e = raised(caught)
  if is_error(e) then
    local file, help = rawget(e, "file"), rawget(e, "help")
    file = type(file) == "string" and "@" .. file or nil
    local code = tostring(rawget(e, "code"))
    return -1, origins[e], "error", code, tostring(e), file, line_of(rawget(e, "line")), help and tostring(help)
  end
  local from = type(e) == "table" and places[e] or is_raised(caught) and caught or {}
  return -1, nil, type(e), nil, brief(e), from.file, from.line
end

return core
