package importer

// dropInName is the drop-in that takes a unit's hands off its container. It is no part of what the unit says.
const dropInName = "90-runcsup-adopted.conf"
