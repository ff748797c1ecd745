// An exception that passes through a declared function, from what it calls back to who called it.
#include <cstdio>
#include <stdexcept>

extern "C" {
#include "flaky.h"
}

static int thrower(void *data)
{
    throw *static_cast<int *>(data);
}

struct Noticing {
    int *noticed;
    ~Noticing() { ++*noticed; }
};

int main()
{
    int caught = 0, noticed = 0;
    for (int i = 0; i < 1000; i++) {
        try {
            Noticing noticing{&noticed};
            flaky_with(thrower, &i);
        } catch (int thrown) {
            caught += thrown == i;
        }
    }
    flaky_fail(1);
    std::printf("caught %d, noticed %d, then %d\n", caught, noticed, flaky_ask(20, 22));
    return caught == 1000 && noticed == 1000 ? 0 : 1;
}
