#include "state/alone.h"

static const char is_not_known;
_Alignas(64) HOT const char *process_single_threaded = &is_not_known;
