-- Health of a ModelPool or SubModel, from the conditions in its status. No library of Lua is used but the basic one:
-- Argo CD has no other.
local function health(status, message)
  return { status = status, message = message }
end

local meta = obj.metadata
if meta.deletionTimestamp ~= nil then
  return health("Progressing", "is being deleted")
end
if obj.status == nil or obj.status.conditions == nil then
  return health("Progressing", "waits for the operator")
end
if meta.generation ~= nil and obj.status.observedGeneration ~= meta.generation then
  return health("Progressing", "waits for the operator to see the last change")
end

local told = {}
for _, condition in ipairs(obj.status.conditions) do
  told[condition.type] = condition
end

local function holds(type, status)
  return told[type] ~= nil and told[type].status == status
end

local function words(type)
  local condition = told[type]
  if condition.message == nil or condition.message == "" then
    return condition.reason
  end
  return condition.reason .. ": " .. condition.message
end

if holds("Suspended", "True") then
  return health("Suspended", words("Suspended"))
end
if holds("Stalled", "True") then
  return health("Degraded", words("Stalled"))
end
if holds("Ready", "True") then
  return health("Healthy", words("Ready"))
end
if told["Ready"] ~= nil then
  return health("Progressing", words("Ready"))
end
return health("Progressing", "waits for the operator")
