-- Why: task bodies are coroutines; here are their calls, their errors, their limits and what crosses to Python.
-- Chunk 1 of the prelude. Gets the Python callbacks, returns the internals that the other chunks build on.
-- Python sees scalars only: a table becomes a run of scalars (nil, 4 * count + kind, items …), so that no Lua
-- object outlives its coroutine, and nothing of Python can be reached from Lua.

local py = ...
local create, resume, yield, running = coroutine.create, coroutine.resume, coroutine.yield, coroutine.running
local status, close_coroutine = coroutine.status, coroutine.close
local getinfo, sethook, getmeta = debug.getinfo, debug.sethook, debug.getmetatable
local pack, unpack, select, type, next, rawequal = table.pack, table.unpack, select, type, next, rawequal
local rawget, rawset, setmetatable, tostring, error = rawget, rawset, setmetatable, tostring, error
local pcall, xpcall, mathtype, byte, format, text = pcall, xpcall, math.type, string.byte, string.format, string

local CALL = {} -- first of all values in a yield to the scheduler; user code never sees it
local CHUNK, DEPTH, EVERY = 200, 100, 100000
local LIST, MAP, PAIRS, ORDERED = 0, 1, 2, 3
local weak = { __mode = "k" }
local bodies, functions, fresh = {}, {}, 0
local roots = setmetatable({}, weak) -- coroutines the scheduler resumes
local forwarding = setmetatable({}, weak) -- user coroutines that wait for the scheduler
local origins = setmetatable({}, weak) -- error object -> the Python exception it stands for
local finals = setmetatable({}, weak) -- error objects that no pcall of the user may swallow
local places = setmetatable({}, weak) -- error values (tables) -> where they were raised
local ending = {} -- body -> the error it must end with
local quiet = {} -- body -> lines kept until its transaction is committed
local inbox, outbox, current = {}, {}, 0
local core = { py = py, functions = functions, quiet = quiet }

function core.current() return current end

-- Where: the nearest line of a user's file.

local function site(level)
  while true do
    local info = getinfo(level, "Sl")
    if not info then return nil end
    if info.currentline > 0 and byte(info.source) == 64 then return info.source, info.currentline end
    level = level + 1
  end
end
core.site = function(level) return site((level or 1) + 2) end

-- Errors.

local ERROR = { __name = "error", __metatable = false }
function ERROR.__tostring(e) return tostring(rawget(e, "message")) end
function ERROR.__concat(a, b) return tostring(a) .. tostring(b) end
function ERROR.__index(_, key)
  local method = text[key]
  return method and function(e, ...) return method(tostring(e), ...) end
end

local function new_error(origin, code, message, final, cancelled)
  local file, line = site(3)
  local e = setmetatable({ code = code, message = message, file = file and file:sub(2), line = line }, ERROR)
  if cancelled then e.cancelled = true end
  if origin ~= nil then origins[e] = origin end
  if final then
    finals[e] = true
    ending[current] = e
  end
  return e
end

local function is_error(e) return type(e) == "table" and getmeta(e) == ERROR end
local function is_final(e) return is_error(e) and finals[e] or false end

-- Raise an error of the tree by its code; `help` is what to do next.
local function fail(code, message, help)
  local e = new_error(nil, code, message)
  e.help = help
  error(e, 0)
end
core.fail, core.is_final, core.is_error = fail, is_final, is_error

-- Unwrap what a guarded Python callback returned.
local function trust(ok, ...)
  if ok then return ... end
  error(new_error(...), 0)
end
core.trust = trust

-- Values to scalars.

local plain = { ["nil"] = true, boolean = true, number = true, string = true }

local function shape(t)
  local count, integers, strings = 0, true, true
  for key in next, t do
    count = count + 1
    local kind = type(key)
    if kind ~= "string" then strings = false end
    if mathtype(key) ~= "integer" then integers = false end
    if not plain[kind] then return nil, count, key end
  end
  if count == 0 or strings then return MAP, count end
  if integers then
    for i = 1, count do
      if rawget(t, i) == nil then return PAIRS, count end
    end
    return LIST, count
  end
  return PAIRS, count
end

local function below(path, key)
  if type(key) == "string" then return path .. "." .. key end
  return path .. "[" .. tostring(key) .. "]"
end

local function put(out, n, value, what, path, depth)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then
    out[n + 1] = value
    return n + 1
  end
  if kind == "nil" then
    out[n + 2] = -1
    return n + 2
  end
  if kind ~= "table" then
    local place = path == "" and "" or " (at " .. path .. ")"
    fail("E-VALUE-TYPE", what .. place .. " can't be a " .. kind)
  end
  if is_error(value) then return put(out, n, tostring(value), what, path, depth) end
  if depth >= DEPTH then
    fail("E-VALUE-TYPE", what .. " is nested more than " .. DEPTH .. " deep, or holds itself")
  end
  local form, count, bad = shape(value)
  if not form then
    fail("E-VALUE-TYPE", format("%s%s has a %s as a key", what, path == "" and "" or " (at " .. path .. ")", type(bad)))
  end
  out[n + 2] = 4 * count + form
  n = n + 2
  if form == LIST then
    for i = 1, count do n = put(out, n, rawget(value, i), what, below(path, i), depth + 1) end
    return n
  end
  for key, item in next, value do
    out[n + 1] = key
    n = put(out, n + 1, item, what, below(path, key), depth + 1)
  end
  return n
end

local function flatten(what, ...)
  local out, n, count = {}, 0, select("#", ...)
  for i = 1, count do
    n = put(out, n, (select(i, ...)), count > 1 and what .. ": argument " .. i or what, "", 0)
  end
  return out, n
end
core.flatten = flatten

-- Hand out the first scalars at once; Python fetches the rest from the outbox.
local function first(out, n)
  if n <= CHUNK then return 0, unpack(out, 1, n) end
  outbox = out
  return n, unpack(out, 1, CHUNK)
end

function core.fetch(from, to)
  return unpack(outbox, from, to)
end

-- Scalars to values.

local function ordered(t, keys)
  local position = {}
  for i, key in next, keys do position[key] = i end
  local function after(_, key)
    local i = key == nil and 0 or position[key]
    if i then
      while keys[i + 1] do
        i = i + 1
        local value = rawget(t, keys[i])
        if value ~= nil then return keys[i], value end
      end
      key = nil
    end
    local value
    repeat key, value = next(t, key) until key == nil or not position[key]
    return key, value
  end
  return setmetatable(t, { __pairs = function() return after, t, nil end })
end

local take
local function take_table(from, at, code)
  local form, count, t = code % 4, code // 4, {}
  if form == LIST then
    for i = 1, count do t[i], at = take(from, at) end
    return t, at
  end
  local keys = {}
  for i = 1, count do
    local key = from[at]
    keys[i] = key
    t[key], at = take(from, at + 1)
  end
  if form == ORDERED then ordered(t, keys) end
  return t, at
end

function take(from, at)
  local value = from[at]
  if value ~= nil then return value, at + 1 end
  local code = from[at + 1]
  if code == -1 then return nil, at + 2 end
  return take_table(from, at + 2, code)
end

local function unflatten(...)
  local from, n = inbox, #inbox
  inbox = {}
  local out, count, at = {}, 0, 1
  if n == 0 and not from.n then
    from, n = { ... }, select("#", ...)
  else
    n = from.n
    for i = 1, select("#", ...) do from[n + i] = (select(i, ...)) end
    n = n + select("#", ...)
  end
  while at <= n do
    count = count + 1
    out[count], at = take(from, at)
  end
  return unpack(out, 1, count)
end
core.unflatten = unflatten

function core.feed(...)
  local n = inbox.n or 0
  for i = 1, select("#", ...) do inbox[n + i] = (select(i, ...)) end
  inbox.n = n + select("#", ...)
end

-- Calls to the scheduler. It answers with true and scalars, nil and flattened values, or false and an error.

local function answer(how, ...)
  if how then return ... end
  if how == nil then return unflatten(...) end
  error(new_error(...), 0)
end

-- `what` names the function in errors. Without a site the scheduler learns the line only if the call fails.
local function call(what, ...)
  for i = 1, select("#", ...) do
    if not plain[type((select(i, ...)))] then
      return answer(yield(CALL, 2, what, nil, nil, first(flatten(what, ...))))
    end
  end
  return answer(yield(CALL, 1, what, ...))
end
core.call = call

function core.call_one(what, selector, a)
  if plain[type(a)] then return answer(yield(CALL, 1, what, selector, a)) end
  return call(what, selector, a)
end

function core.call_two(what, selector, a, b)
  if plain[type(a)] and plain[type(b)] then return answer(yield(CALL, 1, what, selector, a, b)) end
  return call(what, selector, a, b)
end

function core.call_at(what, ...)
  local file, line = site(3)
  return answer(yield(CALL, 2, what, file, line, first(flatten(what, ...))))
end

-- A call whose arguments are functions, named by keys: yields their numbers.
function core.call_functions(what, keys, numbers)
  local file, line = site(3)
  local out, n = flatten(what, keys, numbers)
  return answer(yield(CALL, 3, what, file, line, first(out, n)))
end

function core.register(fn)
  fresh = fresh + 1
  functions[fresh] = fn
  return fresh
end

-- A pure Python function, called in place: scalars go over in pieces, and come back in pieces.
function core.pure(number, name)
  return function(...)
    local out, n = flatten(name, ...)
    local at = 1
    while n - at >= CHUNK do
      trust(py.push(unpack(out, at, at + CHUNK - 1)))
      at = at + CHUNK
    end
    local got = { trust(py.pure(number, unpack(out, at, n))) }
    local have = got[1]
    if have == nil then return got[2] end
    local all, size = {}, 0
    while size < have do
      local piece = pack(trust(py.pull()))
      for i = 1, piece.n do all[size + i] = piece[i] end
      size = size + piece.n
    end
    all.n = size
    inbox = all
    return unflatten()
  end
end

-- What a body must end with, shown in scalars: origin, code, message, file, line, help.

local RAISED = {}

-- Message handler: remembers where an error was raised, while the stack still stands.
local function locate(e)
  if type(e) == "table" and getmeta(e) == RAISED then return e end
  local file, line = site(2)
  return setmetatable({ value = e, file = file, line = line }, RAISED)
end
core.locate = locate

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
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function describe(raised)
  local e, file, line = raised, nil, nil
  if type(raised) == "table" and getmeta(raised) == RAISED then
    e, file, line = raised.value, raised.file, raised.line
  end
  if is_error(e) then
    local from = rawget(e, "file")
    if type(from) == "string" then file, line = "@" .. from, rawget(e, "line") end
    local help = rawget(e, "help")
    return -1, origins[e], "error", tostring(rawget(e, "code")), tostring(e), file, line, help and tostring(help)
  end
  local seen = type(e) == "table" and places[e]
  if seen then file, line = seen.file, seen.line end
  return -1, nil, type(e), nil, brief(e), file, line
end

-- Raise what xpcall(…, locate) caught, keeping the place where it was raised first.
function core.again(raised)
  local e = raised
  if type(raised) == "table" and getmeta(raised) == RAISED then
    e = raised.value
    if type(e) == "table" and not is_error(e) then places[e] = raised end
  end
  error(e, 0)
end
function core.raised(raised)
  if type(raised) == "table" and getmeta(raised) == RAISED then return raised.value end
  return raised
end

-- Bodies.

local function done(ok, ...)
  if not ok then return describe((...)) end
  local fine, out, n = pcall(flatten, "the result", ...)
  if not fine then return describe(out) end
  return 0, first(out, n)
end

local function base(fn, ...)
  return done(xpcall(fn, locate, unflatten(...)))
end

local function hook()
  local e = ending[current]
  if e == nil then
    local ok, stop, code, message, final = py.poll()
    if ok then return end
    e = new_error(stop, code, message, final)
    ending[current] = e
    finals[e] = true
  elseif byte(getinfo(2, "S").source) ~= 64 then
    return -- clean-up of the prelude goes on
  end
  error(e, 0)
end

function core.guard(co)
  sethook(co, hook, "", EVERY)
  return co
end

local function after(id, ok, tag, ...)
  if ok and rawequal(tag, CALL) then return ... end
  bodies[id], ending[id], quiet[id] = nil, nil, nil
  if ok then return tag, ... end
  return describe(tag)
end

function core.start(number, ...)
  fresh = fresh + 1
  local co = core.guard(create(base))
  bodies[fresh], roots[co], current = co, true, fresh
  return fresh, after(fresh, resume(co, functions[number], ...))
end

function core.step(id, ...)
  current = id
  return after(id, resume(bodies[id], ...))
end

-- Forget a body that did not end by itself; its pending <close> variables run now.
function core.drop(id)
  local co = bodies[id]
  current = id
  if co then close_coroutine(co) end
  bodies[id], ending[id], quiet[id] = nil, nil, nil
end

function core.release(number) functions[number] = nil end

-- The user's coroutines hand the scheduler's calls through, both ways.

local function pass(co, ...)
  local ok, tag = ...
  if ok and rawequal(tag, CALL) then
    forwarding[co] = true
    return core.handed(co, yield(select(2, ...)))
  end
  return ...
end
function core.handed(co, ...)
  forwarding[co] = nil
  return pass(co, resume(co, ...))
end
local function settle(ok, ...)
  if not ok and is_final((...)) then error((...), 0) end
  return ok, ...
end

function core.user_resume(co, ...)
  if forwarding[co] then return false, "cannot resume non-suspended coroutine" end
  return settle(pass(co, resume(co, ...)))
end
function core.user_pcall(...) return settle(pcall(...)) end
function core.user_status(co) return forwarding[co] and "normal" or status(co) end
function core.is_root() return roots[(running())] end
function core.user_close(co)
  if forwarding[co] then error("cannot close a running coroutine", 3) end
  return settle(close_coroutine(co))
end
return core
