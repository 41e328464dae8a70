/* The MJCF text of Gym's Hopper, as embedded in the library. */
#ifndef DPPO_ENVS_HOPPER_H
#define DPPO_ENVS_HOPPER_H

const char *dppo_hopper_xml(void);

#endif
