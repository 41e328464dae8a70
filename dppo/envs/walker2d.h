/* The MJCF text of Gym's Walker2d, as embedded in the library. */
#ifndef DPPO_ENVS_WALKER2D_H
#define DPPO_ENVS_WALKER2D_H

const char *dppo_walker2d_xml(void);

#endif
