/* The MJCF text of Gym's HalfCheetah, as embedded in the library. */
#ifndef DPPO_ENVS_HALF_CHEETAH_H
#define DPPO_ENVS_HALF_CHEETAH_H

const char *dppo_half_cheetah_xml(void);

#endif
