-- Argo CD's own suggestion: the health of an Application is what it says of itself. Without it a wave of
-- Applications does not wait for the one before.
local health = { status = "Progressing", message = "" }
if obj.status ~= nil and obj.status.health ~= nil then
  health.status = obj.status.health.status
  if obj.status.health.message ~= nil then
    health.message = obj.status.health.message
  end
end
return health
