// Covered by the header that comes first.
#include "yaie_emulator.h"
