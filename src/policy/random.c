#include "policy/random.h"

/* splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
uint64_t random_next(struct random *random)
{
    uint64_t mixed = random->state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    /* Always one draw, so that the same calls draw the same numbers whatever the bounds are. The bias of the plain
     * remainder is bound / 2^64: a millionth for bounds of five hours in ns. */
    uint64_t drawn = random_next(random);
    return bound ? drawn % bound : 0;
}

bool random_chance(struct random *random, uint32_t ratio_ppm)
{
    return random_below(random, PPM_ONE) < ratio_ppm;
}
