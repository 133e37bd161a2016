-- Why: a task file says task({…}), task("name"):command(fn):build() or workflow.define(…); all of them come to
-- a table of fields that Python checks. Functions stay here, Python gets their numbers.
-- Chunk 6 of the prelude.

local core, env = ...
local load, register = load, core.register
local py, trust, fail, site = core.py, core.trust, core.fail, core.site
local type, next, tostring, select, setmetatable, getmeta = type, next, tostring, select, setmetatable, debug.getmetatable

local drafts = {} -- builders in the order they were begun
local defined = setmetatable({}, { __mode = "k" }) -- what task() returned -> the task's name

-- Hand a definition to Python: kind, site, numbers of functions, then name and value of each other field.
local function define(kind, fields, file, line)
  local functions, out = {}, {}
  for name, value in next, fields do
    if type(name) ~= "string" then
      local found = type(value) == "string" and value or tostring(name)
      fail("E-FIELD", ("%s: a field is written name = value, which %q is not"):format(kind, found))
    end
    if type(value) == "function" then functions[name] = core.register(value) end
  end
  local n = core.put(out, 0, kind, kind)
  n = core.put(out, n, file, kind)
  n = core.put(out, n, line, kind)
  n = core.put(out, n, functions, kind)
  for name, value in next, fields do
    if not functions[name] then
      n = core.put(out, n, name, kind)
      n = core.put(out, n, value, ("%s: the field %q"):format(kind, name))
    end
  end
  return trust(py.define(core.send(out, n, py.push)))
end

local function define_task(fields, file, line)
  local handle = { name = define("task", fields, file, line) }
  defined[handle] = handle.name
  return handle
end

-- Work that is done once at the end of a run if a change called for it (notify = "name").
function env.handler(fields)
  if type(fields) ~= "table" or getmeta(fields) ~= nil then
    fail("E-ARGUMENT", "handler needs a table of fields", 'handler({ name = "…", run = function() … end })')
  end
  return { name = define("handler", fields, site(2)) }
end

-- Builders collect fields; each method sets one and returns the builder.

local BUILDER = { __name = "builder", __metatable = false }

local function draft_of(self, method)
  if type(self) == "table" and getmeta(self) == BUILDER then return self[BUILDER] end
  fail("E-ARGUMENT", method .. " is called with a colon: :" .. method .. "(…)")
end

local function setter(method, field, many)
  return function(self, ...)
    local draft = draft_of(self, method)
    if draft.fields[field] ~= nil then
      fail("E-FIELD", ("%s %q: %s is given twice"):format(draft.kind, draft.fields.name, method))
    end
    local value = ...
    if many and select("#", ...) > 1 then value = { ... } end
    if value == nil then fail("E-ARGUMENT", ":" .. method .. "(…) needs a value") end
    draft.fields[field] = value
    return self
  end
end

local function methods(kind, fields, many, extra)
  local out = extra
  for method, field in next, fields do
    out[method] = setter(method, field, many[method])
  end
  return function(name)
    return out[name] or trust(py.method(kind, tostring(name)))
  end
end

function BUILDER.__index(self, name)
  return rawget(self, BUILDER).methods(name)
end

local function finish(draft)
  if draft.handle then fail("E-FIELD", ("%s %q is built twice"):format(draft.kind, draft.fields.name)) end
  draft.handle = draft.define(draft.fields, draft.file, draft.line)
  return draft.handle
end

local function build(self)
  return finish(draft_of(self, "build"))
end

local function begin(kind, name, lookup, definer)
  local file, line = site(2)
  local draft = { kind = kind, fields = { name = name }, file = file, line = line, methods = lookup, define = definer }
  drafts[#drafts + 1] = draft
  return setmetatable({ [BUILDER] = draft }, BUILDER)
end

local task_methods = methods("task", {
  description = "description", command = "run", run = "run", depends_on = "depends_on", delegate_to = "delegate_to",
  retries = "retries", retry_delay = "retry_delay", timeout = "timeout", run_if = "run_if", unless = "unless",
  on_success = "on_success", on_failure = "on_failure", env = "env", workdir = "workdir", user = "user",
  tags = "tags", locks = "locks", params = "params", prune = "prune",
  serial = "serial", max_failures = "max_failures",
}, { depends_on = true, delegate_to = true, tags = true, locks = true }, { build = build })

function env.task(what, ...)
  if select("#", ...) > 0 then
    local name = type(what) == "string" and ("name = %q, "):format(what) or ""
    fail("E-ARGUMENT", "task takes one value: a table of fields, or a name", ("all fields stand in one table: task({ %s… })"):format(name))
  end
  if type(what) == "string" then return begin("task", what, task_methods, define_task) end
  if type(what) ~= "table" or getmeta(what) == BUILDER then
    fail("E-ARGUMENT", "task needs a table of fields, or a name", 'task({ name = "…", run = function() … end })')
  end
  return define_task(what, site(2))
end

-- A workflow names its tasks: what task() returned, builders, definitions, or names.

local function task_names(tasks, file, line)
  if type(tasks) ~= "table" then return tasks end
  local names = {}
  for i = 1, #tasks do
    local item = tasks[i]
    if type(item) == "table" and getmeta(item) == BUILDER then
      local draft = item[BUILDER]
      item = draft.handle or finish(draft)
    elseif type(item) == "table" and not defined[item] then
      item = define_task(item, file, line)
    end
    names[i] = type(item) == "table" and defined[item] or item
  end
  for key in next, tasks do
    if math.type(key) ~= "integer" or key < 1 or key > #tasks then
      fail("E-ARGUMENT", "workflow: tasks is a list, without the key " .. tostring(key))
    end
  end
  return names
end

local function define_workflow(fields, file, line)
  local all = {}
  for key, value in next, fields do
    all[key] = value
  end
  all.tasks = task_names(fields.tasks, file, line)
  define("workflow", all, file, line)
  return { name = fields.name }
end

local workflow_methods = methods("workflow", {
  description = "description", tasks = "tasks", delegate_to = "delegate_to", on_complete = "on_complete",
  serial = "serial", max_failures = "max_failures",
}, { delegate_to = true }, { build = build })

env.workflow = {
  define = function(name, fields)
    if type(name) ~= "string" then
      fail("E-ARGUMENT", "workflow.define needs a name first, not a " .. type(name), 'workflow.define("…", { tasks = { … } })')
    end
    if fields == nil then return begin("workflow", name, workflow_methods, define_workflow) end
    if type(fields) ~= "table" then fail("E-ARGUMENT", "workflow.define: the fields are a table, not a " .. type(fields)) end
    local all = { name = name }
    for key, value in next, fields do
      if key == "name" then fail("E-FIELD", "workflow.define: the name is given before the fields") end
      all[key] = value
    end
    return define_workflow(all, site(2))
  end,
}

-- The end of the file: workflows in chained form are complete now; a task that was not built is a mistake.
local function complete()
  for i = 1, #drafts do
    local draft = drafts[i]
    if draft.kind == "workflow" and not draft.handle then finish(draft) end
  end
  for i = 1, #drafts do
    local draft = drafts[i]
    if not draft.handle then trust(py.unbuilt(draft.fields.name, draft.file, draft.line)) end
  end
end

-- A global that nobody has set is nil; the task file's author is told of it, for it may be misspelt.
local unset = {
  __index = function(_, name)
    if type(name) == "string" then trust(py.unset(name, site(2))) end
    return nil
  end,
}

-- Register a file's function; returns its number, or what keeps it from compiling. `text` is the file as it is run.
function core.load_file(original, text, name)
  local chunk, problem = load(original, name, "t", env)
  if not chunk then return problem end
  chunk = load(text, name, "t", env) or chunk
  setmetatable(env, unset)
  return register(function()
    chunk()
    complete()
  end)
end
