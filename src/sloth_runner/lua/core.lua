-- Why: a task's body is a coroutine. It asks the scheduler for what it wants done, also from within the user's own
-- coroutines; it can be ended at any time, and its limits hold inside pcall.
-- Chunk 3 of the prelude.

local core = ...
local py = core.py
local create, resume, yield, running = coroutine.create, coroutine.resume, coroutine.yield, coroutine.running
local status, close_coroutine = coroutine.status, coroutine.close
local getinfo, sethook = debug.getinfo, debug.sethook
local select, type, rawequal, setmetatable, error = select, type, rawequal, setmetatable, error
local pcall, xpcall, unpack, tostring = pcall, xpcall, table.unpack, tostring
local gmatch, sub = string.gmatch, string.sub
local plain, first, flatten, unflatten, put = core.plain, core.first, core.flatten, core.unflatten, core.put
local new_error, is_final, locate, describe, site = core.new_error, core.is_final, core.locate, core.describe, core.site
local frames, is_error = core.frames, core.is_error
local ending, trust, own = core.ending, core.trust, core.source

local CALL = {} -- first of all values in a yield to the scheduler; user code never sees it
local EVERY = 100000 -- instructions between two looks at the clock: about a millisecond
local weak = { __mode = "k" }
local roots = setmetatable({}, weak) -- coroutines that the scheduler resumes
local forwarding = setmetatable({}, weak) -- user coroutines that wait for the scheduler
local bodies, functions, fresh = {}, {}, 0
local quiet = {} -- body -> lines kept until its transaction is committed
core.quiet = quiet
local facts = {} -- body -> what it has read of facts
core.facts = facts

-- Calls. The answer is true and scalars, 1 and a table's keys and plain values in turn, nil and flattened values, false
-- and an error, or 0, names and a table.

local function record(t, key, value, ...)
  if key == nil then return t end
  t[key] = value
  return record(t, ...)
end

local function answer(how, ...)
  if how == true then return ... end
  if how == 1 then return record({}, ...) end
  if how == nil then return unflatten(...) end
  if how == 0 then return core.partial(...) end
  error(new_error(...), 0)
end

-- In check mode some fields of a result can't be known: reading one ends the task's plan. `unknown` names them.
function core.partial(unknown, ...)
  local names = {}
  for field in gmatch(unknown, "[^\n]+") do
    names[field] = true
  end
  return setmetatable(unflatten(...), {
    __index = function(_, field)
      if names[field] then core.call_at("engine.unknown", field) end
    end,
    __pairs = function()
      core.call_at("engine.unknown", "*")
    end,
  })
end

-- The same of a table of which nothing is known before something has happened.
function core.unknown(before)
  return setmetatable({}, {
    __index = function(_, field)
      core.call_at("engine.unknown", tostring(field), before)
    end,
    __pairs = function()
      core.call_at("engine.unknown", "*", before)
    end,
  })
end

-- A call without a site: the line is found only if it fails. `selector` says whose state is meant.
function core.call_state(what, selector, ...)
  local count, simple = select("#", ...), true
  for i = 1, count do
    if not plain[type((select(i, ...)))] then simple = false end
  end
  if simple then return answer(yield(CALL, 1, what, selector, ...)) end
  local key = ...
  local out = {}
  local n = put(out, 0, selector, what)
  for i = 1, count do
    local name = i == 2 and type(key) == "string" and ("%s: the value of %q"):format(what, key)
    n = put(out, n, (select(i, ...)), name or what .. ": argument " .. i)
  end
  return answer(yield(CALL, 2, what, nil, nil, nil, first(out, n)))
end

function core.call_one(what, selector, a)
  if plain[type(a)] then return answer(yield(CALL, 1, what, selector, a)) end
  return core.call_state(what, selector, a)
end

function core.call_two(what, selector, a, b)
  if plain[type(a)] and plain[type(b)] then return answer(yield(CALL, 1, what, selector, a, b)) end
  return core.call_state(what, selector, a, b)
end

-- A call that carries its site.
function core.call_at(what, ...)
  local file, line, outer = frames(3)
  return answer(yield(CALL, 2, what, file, line, outer, first(flatten(what, ...))))
end

-- The same, of what `core.flat` made of its only argument.
function core.call_flat(what, ...)
  local file, line, outer = frames(3)
  return answer(yield(CALL, 4, what, file, line, outer, ...))
end

-- A call whose second argument is a list of registered functions, by number.
function core.call_functions(what, keys, numbers)
  local file, line = site(2)
  return answer(yield(CALL, 3, what, file, line, nil, first(flatten(what, keys, numbers))))
end

-- A pure Python function, called in place: large values go over in pieces, both ways.
function core.pure(number, name)
  local function result(pieces, value)
    if pieces == nil then return value end
    for _ = 1, pieces do
      core.feed(trust(py.pull()))
    end
    return unflatten(value)
  end
  return function(...)
    local out, n = flatten(name, ...)
    return result(trust(py.pure(number, core.send(out, n, py.push))))
  end
end

function core.register(fn)
  fresh = fresh + 1
  functions[fresh] = fn
  return fresh
end

-- The first and the last line of a registered function.
function core.span(number)
  local info = getinfo(functions[number], "S")
  return info.linedefined, info.lastlinedefined
end

function core.release(number)
  functions[number] = nil
end

-- Bodies.

local RETURNED = "what a function returns is handed on and recorded: return texts, numbers, booleans and tables of them"
  .. "\nwhat it did before it returned is done and stays so"

-- What a function of the user returned can't be handed on: told at its first line, its own are not running any more.
local function unfit(fn, e)
  if not is_error(e) then return describe(e) end
  local info = getinfo(fn, "S")
  if sub(info.source, 1, 1) == "@" then
    e.file, e.line = sub(info.source, 2), info.linedefined
  end
  e.help = RETURNED
  return describe(e)
end

local function done(fn, ok, ...)
  if not ok then return describe((...)) end
  if ending[core.current] then return describe(ending[core.current]) end
  local fine, out, n = pcall(flatten, "the result", ...)
  if not fine then return unfit(fn, out) end
  return 0, first(out, n)
end

local function base(fn, ...)
  return done(fn, xpcall(fn, locate, unflatten(...)))
end

-- Count hook: ends a body that must end, at the next instruction of the user: the prelude is never interrupted.
local hook
function hook()
  local e = ending[core.current]
  if e == nil then
    local ok, origin, code, message = py.poll()
    if ok then return end
    e = new_error(origin, code, message, true)
  end
  if getinfo(2, "S").source == own then
    sethook(hook, "", 1)
  else
    sethook(hook, "", EVERY)
    error(e, 0)
  end
end

local function guard(co)
  sethook(co, hook, "", EVERY)
  return co
end

local function forget(id)
  bodies[id], ending[id], quiet[id], facts[id] = nil, nil, nil, nil
end

local function after(id, ok, tag, ...)
  if ok and rawequal(tag, CALL) then return ... end
  forget(id)
  if ok then return tag, ... end
  return describe(tag)
end

-- Begin a body; returns its number and what it asks for first.
function core.start(number, ...)
  fresh = fresh + 1
  local id, co = fresh, guard(create(base))
  bodies[id], roots[co], core.current = co, true, id
  return id, after(id, resume(co, functions[number], ...))
end

-- Answer a body; returns what it asks for next: 1 name …, 2 or 3 name file line outer rest …, 4 name file line outer key
-- value …, or how it ended: 0 rest result …, -1 error ….
function core.step(id, ...)
  core.current = id
  return after(id, resume(bodies[id], ...))
end

-- Forget a body that did not end by itself; its pending <close> variables run now, without the scheduler.
function core.drop(id)
  local co = bodies[id]
  core.current = id
  if co then close_coroutine(co) end
  forget(id)
end

-- The user's coroutines hand the scheduler's calls through, both ways.

local handed
local function pass(co, ok, ...)
  if ok and rawequal((...), CALL) then
    forwarding[co] = true
    return handed(co, yield(...))
  end
  return ok, ...
end
function handed(co, ...)
  forwarding[co] = nil
  return pass(co, resume(co, ...))
end

local function settle(ok, ...)
  if not ok and is_final((...)) then error((...), 0) end
  return ok, ...
end

local function blocked(co)
  return type(co) == "thread" and (forwarding[co] or roots[co])
end

-- An error that ends the body passes here too, after the coroutine's own <close> variables.
local function resumed(co, ok, ...)
  if not ok and is_final((...)) then
    close_coroutine(co)
    error((...), 0)
  end
  return ok, ...
end

local function user_resume(co, ...)
  if blocked(co) then return false, "cannot resume non-suspended coroutine" end
  return resumed(co, pass(co, resume(co, ...)))
end

local function wrapped(co, ok, ...)
  if ok then return ... end
  if status(co) == "dead" then close_coroutine(co) end
  error((...), 0)
end

local function in_user_coroutine()
  return not roots[(running())]
end

core.coroutine = {
  create = function(fn)
    return guard(create(fn))
  end,
  wrap = function(fn)
    local co = guard(create(fn))
    return function(...)
      if blocked(co) then error("cannot resume non-suspended coroutine", 2) end
      return wrapped(co, pass(co, resume(co, ...)))
    end
  end,
  resume = user_resume,
  yield = function(...)
    if in_user_coroutine() then return yield(...) end
    error("attempt to yield from outside a coroutine", 2)
  end,
  isyieldable = in_user_coroutine,
  running = function()
    local co = running()
    return co, roots[co] or false
  end,
  status = function(co)
    if type(co) == "thread" and forwarding[co] then return "normal" end
    return status(co)
  end,
  close = function(co)
    if blocked(co) then error("cannot close a running coroutine", 2) end
    return settle(close_coroutine(co))
  end,
}

-- pcall and xpcall as usual, but an error that ends the body goes through them.

function core.pcall(...)
  return settle(pcall(...))
end

function core.xpcall(fn, handler, ...)
  if type(handler) ~= "function" then error("bad argument #2 to 'xpcall' (function expected)", 2) end
  return settle(xpcall(fn, function(e)
    if is_final(e) then return e end
    return handler(e)
  end, ...))
end

return core
